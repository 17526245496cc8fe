"""The JSON schema of a plan: it takes what the reader takes, and every key says what it means."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plan.json_schema import is_valid
from plan.plans import BASE, plan_dict, versions

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import load, study
from megatron_lrps.plan.json_schema import keys_of, plan_schema, texts_of
from megatron_lrps.plan.keys.base import PlanModel
from megatron_lrps.plan.keys_page import sections_of
from megatron_lrps.plan.load import parse_mapping

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = plan_schema()
MODELS = [study.Study, study.StudyData, *PlanModel.__subclasses__()]


@pytest.mark.parametrize("model", dict.fromkeys(MODELS), ids=lambda model: model.__name__)
def test_every_key_of_every_section_says_what_it_means(model: type[PlanModel]) -> None:
    texts = texts_of(model)
    silent = [key for key in model.model_fields if key != "base" and not texts.get(key)]
    assert silent == [], f'write """what it means.""" under each in {model.__module__}'
    assert {text for text in texts.values() if not text.endswith(".")} == set()


def test_the_schema_has_those_texts() -> None:
    keys = {(section.label, key) for section in sections_of(SCHEMA) for key in keys_of(section.part)}
    assert {("", "campaign"), ("versions[].replay", "share"), ("launch.slurm", "nodes")} < keys
    assert ("", "base") not in keys
    for section in sections_of(SCHEMA):
        assert [key for key, node in keys_of(section.part).items() if not node.get("description")] == []
    launch = SCHEMA["$defs"]["Launch"]["properties"]
    assert launch["slurm"]["description"].startswith("What `lrps submit` asks the cluster for.")


def documented() -> Iterator[Any]:
    """(place, keys) of every plan and part of a plan in the documentation; a study gives its base."""
    pages = [ROOT / "README.md", ROOT / "slurm/README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = [
        (f"{page.name}-{number}", part)
        for page in pages
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
        for part in block.split("\n# or\n")
    ]
    texts += [(file.name, file.read_text()) for file in sorted((ROOT / "examples").rglob("*.yaml"))]
    for place, text in texts:
        if not re.search(r"^\w", text, re.MULTILINE):
            continue  # a comment for editors alone
        keys = load._parse_yaml(text, place)
        if "study" in keys:
            keys = keys["base"] if isinstance(keys["base"], dict) else {}
        yield pytest.param({**plan_dict(), **keys}, id=place)


@pytest.mark.parametrize("keys", [*documented()])
def test_it_takes_every_plan_of_the_documentation(keys: dict[str, Any]) -> None:
    parse_mapping(keys, base=BASE)
    assert is_valid(keys, SCHEMA)


def version(**keys: Any) -> dict[str, Any]:
    return {"versions": [{**versions(1000)[0], **keys}]}


@pytest.mark.parametrize(
    "keys",
    [
        *({"sequence_length": count} for count in (16, "2k", "1.5M", "10_000", "21 B", 1e4)),
        {"lr": {"warmup_iters": 0}},
        {"versions": [{"name": "v1", "tokens": "21B"}]},
        {"versions": [{"name": "v1", "iters": None, "samples": 8000}]},
        version(train=[[0.7, "data/web"], [3, "data/code"]], valid={"web": "data/valid"}),
        version(train=[[1.0, "d"]], sources={"d": "raw.txt"}),
        version(train=[[1.0, "d"]], sources={"d": ["a.jsonl", "b/*.gz"]}),
        version(train=[[1.0, "d"]], sources={"d": {"files": "raw", "format": "parquet"}}),
        version(train=[[1.0, "d"]], sources={"d": {"files": ["a.txt"], "documents": "line", "max_unreadable": 0}}),
        *(version(replay=replay) for replay in (0.1, {"share": 0.5}, {"share": 0.1, "weights": {"v0": 2}}, None)),
        *(version(decay=decay) for decay in ({"alpha": 0.2}, {"shape": "1-sqrt"}, None)),
        *({"paradigm": paradigm} for paradigm in ("lrps", "cpt-rewarm", ["lrps", "ptfs"])),
        {"megatron": {"bf16": True, "num-layers": 2, "adam-beta2": 0.95, "vp": [1, 2.5, "x"], "recompute_x": "full"}},
        {"alerts": {"skipped": None, "hook": ["./page-me", "team"]}},
        {"cuts": [{"name": "early", "fork": 500, "iters": "1k", "decay": {"shape": "linear"}}]},
        {"launch": {"slurm": {"options": {"overcommit": True, "nice": 5, "reservation": "x"}, "mem": "0"}}},
    ],
)
def test_it_takes_what_the_reader_takes(keys: dict[str, Any]) -> None:
    data = plan_dict(**keys)
    parse_mapping(data, base=BASE)
    assert is_valid(data, SCHEMA)


@pytest.mark.parametrize("text", ["campaign: 007", "campaign: 2024-11-01", "campaign: on", "campaign: 1e5"])
def test_a_name_is_text_as_it_is_written_whatever_an_editor_reads(text: str) -> None:
    as_an_editor = {"007": 7, "2024-11-01": "2024-11-01", "on": True, "1e5": 100000.0}[text.partition(" ")[2]]
    assert load._parse_yaml(text, "plan")["campaign"] == text.partition(" ")[2]
    assert is_valid(plan_dict(campaign=as_an_editor), SCHEMA)


@pytest.mark.parametrize(
    "keys",
    [
        *({"sequence_length": count} for count in (0, -1, "0x10", "21G", "1..5M", 2.5, True, [1])),
        {"campaign": "a/b"},
        {"save": 3},
        {"versions": []},
        {"versions": {"v1": {}}},
        version(train=[["data/web", 0.7]]),
        version(train=[[0.7, "data/web", 1]]),
        version(train=[[0, "data/web"]]),
        version(train=[[1.0, "d"]], sources={"d": 5}),
        version(train=[[1.0, "d"]], sources={"d": {"format": "jsonl"}}),
        *(version(replay=replay) for replay in (0, 1, "a tenth", {"weights": {"v0": 1}})),
        *(version(decay=decay) for decay in ({"alpha": 2}, {"shape": "cosin"}, {"shapes": "cosine"})),
        *({"paradigm": paradigm} for paradigm in ("lprs", ["lrps", "both"], 3)),
        {"lr": {"max": 0}},
        {"megatron": {"--bf16": True}},
        {"megatron": {"bf16": {}}},
        {"launch": {"device": "tpu"}},
        {"base": "."},
    ],
)
def test_it_refuses_what_the_reader_refuses(keys: dict[str, Any]) -> None:
    data = plan_dict(**keys)
    with pytest.raises(PlanError):
        parse_mapping(data, base=BASE)
    assert not is_valid(data, SCHEMA)


@pytest.mark.parametrize("section", [*sections_of(SCHEMA)], ids=lambda section: section.label)
def test_an_unknown_key_is_refused_in_every_section(section: Any) -> None:
    forms = [form for form in [section.part, *section.part.get("anyOf", [])] if "properties" in form]
    assert [form["additionalProperties"] for form in forms] == [False]
