"""docs/plan.md: made from the models, complete, and its examples are plans."""

import re
from pathlib import Path
from typing import Any

import pytest
from plan.plans import BASE, plan_dict, versions

from megatron_lrps.plan import expand, load
from megatron_lrps.plan.json_schema import keys_of, plan_schema
from megatron_lrps.plan.keys_page import EXAMPLES, plan_markdown, sections_of
from megatron_lrps.plan.load import parse_mapping

PAGE = Path(__file__).resolve().parents[2] / "docs/plan.md"
SECTIONS = {section.label: section for section in sections_of(plan_schema())}


def test_the_page_is_what_the_models_say() -> None:
    fix = "run: lrps schema --markdown --output docs/plan.md"
    assert PAGE.read_text() == plan_markdown(), fix


def test_every_section_has_an_example() -> None:
    assert list(EXAMPLES) == list(SECTIONS)


def parts(label: str) -> list[dict[str, Any]]:
    return [load._parse_yaml(part, label) for part in EXAMPLES[label].split("---\n")]


@pytest.mark.parametrize("label", EXAMPLES)
def test_every_example_is_a_part_of_a_plan(label: str) -> None:
    for keys in parts(label):
        base = plan_dict(versions=versions(10_000, train=[[1.0, "data/web"]]))
        expand(parse_mapping({**base, **keys}, base=BASE))


@pytest.mark.parametrize("label", EXAMPLES)
def test_an_example_shows_every_key_of_its_section(label: str) -> None:
    shown: set[str] = set()

    def look(value: Any, way: list[str]) -> None:
        if isinstance(value, list):
            for item in value:
                look(item, way)
        elif isinstance(value, dict) and not way:
            shown.update(value)
        elif isinstance(value, dict):
            step, *rest = way
            for key in value if step == "PREFIX" else [step]:
                look(value.get(key), rest)

    for keys in parts(label):
        look(keys, label.replace("[]", "").split(".") if label else [])
    before = f"{label}." if label else ""
    sections_of_their_own = {
        name.removeprefix(before).split(".")[0].removesuffix("[]") for name in EXAMPLES if name.startswith(before)
    }
    assert set(keys_of(SECTIONS[label].part)) - shown - sections_of_their_own == set()


def test_what_a_key_takes_stands_in_words() -> None:
    page = plan_markdown()
    for row in (
        "| `sequence_length` | count | **needed** |",
        "| `max` | number > 0 | `0.0003` |",
        "| `train` | list of [number > 0, path] |  |",
        "| `replay` | number > 0, < 1 or `even` or [keys](#versionsreplay) |  |",
        "| `sources` | mapping to path or list of paths or [keys](#versionssourcesprefix) |  | The raw text from which "
        "`lrps prepare` makes an index, by",
        "| `data` | `window`, `mixed` or list of [number > 0, path] | `window` |",
        "| `skipped` | count or `null` | `25` |",
        "| `megatron` | mapping to value |  | Megatron's own flags",
        "| `device` | `gpu`, `cpu` | `gpu` |",
    ):
        assert page.count(row) == 1, row
    anchors = {f"#{''.join(c for c in label.lower() if c.isalnum())}" for label in SECTIONS if label}
    assert set(re.findall(r"\(([#]\w+)\)", page)) <= anchors
