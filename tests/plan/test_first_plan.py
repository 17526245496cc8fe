"""The first plan of a campaign, as `lrps init` writes it."""

from typing import Any

import pytest
import yaml
from plan.json_schema import is_valid
from plan.plans import BASE

from megatron_lrps.plan import expand, load, parse_plan
from megatron_lrps.plan.first_plan import SIZES, Draft, Text, draft_text
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.json_schema import plan_schema


def draft(**given: Any) -> str:
    said = {
        "name": "c",
        "train": (Text(files="raw/v1"), Text(files="raw/v2.txt", documents="paragraph")),
        "valid": Text(files="raw/valid.jsonl"),
        "size": "tiny",
        "vocab_size": 512,
        "length": ("iters", "100"),
        "iters": 100,
        "device": "cpu",
        "why": "Nothing else is here.",
        "processes": 1,
    }
    return draft_text(Draft(**{**said, **given}))


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_a_plan_whose_flags_are_megatrons(size: str) -> None:
    text = draft(size=size)
    tree = expand(parse_plan(text, base=BASE))
    assert [path.name for path in tree.paths] == ["main", "v1", "v2"]
    assert tree.plan.global_batch_size % int(tree.plan.megatron["micro-batch-size"]) == 0
    assert path_flags(tree, tree.path("v2"))["min-lr"] == pytest.approx(tree.plan.lr.max / 10)
    assert is_valid(yaml.safe_load(text), plan_schema())
    assert text.startswith("# yaml-language-server: $schema=plan.schema.json\n")
    assert max(map(len, text.splitlines())) <= 120


def test_versions_have_their_text_and_the_first_the_held_out_set() -> None:
    first, second = parse_plan(draft(), base=BASE).versions
    assert (first.iters, first.train, first.valid) == (
        100,
        ((1.0, BASE / "data/v1"),),
        {"held-out": BASE / "data/valid"},
    )
    assert {prefix: source.files for prefix, source in first.sources.items()} == {
        BASE / "data/v1": (BASE / "raw/v1",),
        BASE / "data/valid": (BASE / "raw/valid.jsonl",),
    }
    assert (second.valid, second.sources[BASE / "data/v2"].documents) == ({}, "paragraph")


def test_the_length_may_be_in_tokens() -> None:
    plan = parse_plan(draft(length=("tokens", "2B"), iters=3814, size="125m"), base=BASE)
    assert [version.tokens for version in plan.versions] == [2 * 10**9] * 2
    assert plan.lr.warmup_iters == 190  # a twentieth of the first version
    assert (plan.megatron["save-interval"], plan.megatron["eval-interval"]) == (953, 1000)


@pytest.mark.parametrize(
    "files",
    [
        "raw/v1",
        "/data/raw/*.jsonl.zst",
        "a b",
        "raw/{x}, y: z # c",
        "1e5",
        "true",
        "~",
        "raw/täxt",
        'say "x"',
        "-x",
        "*a",
    ],
)
def test_any_name_of_a_file_is_read_back(files: str) -> None:
    [first, _] = load._parse_yaml(draft(valid=Text(files=files)), "plan")["versions"]
    assert first["sources"] == {"data/v1": "raw/v1", "data/valid": files}
