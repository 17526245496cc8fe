"""Which key is meant, and how a place in the plan is named."""

from typing import Any

import pytest
import yaml

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.key_errors import place
from tests.plan.plans import BASE, PLAN, assert_one_clear_line, plan_dict, versions


def refused(data: dict[str, Any], *parts: str) -> None:
    with pytest.raises(PlanError) as caught:
        expand(parse_plan(yaml.safe_dump(data, sort_keys=False), base=BASE))
    assert_one_clear_line(caught.value, *parts)


def renamed(old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in plan_dict().items()}


@pytest.mark.parametrize("written", ["Versions", "version", "VERSIONS", "verisons", "versions "])
def test_a_misspelt_key_is_named_before_the_one_that_is_missing(written: str) -> None:
    refused(renamed("versions", written), f"{written} is an unknown key", "did you mean `versions`?")


@pytest.mark.parametrize(
    ("old", "written"),
    [
        ("campaign", "Campaign"),
        ("campaign", "campain"),
        ("global_batch_size", "global-batch-size"),
        ("global_batch_size", "batch_size"),
        ("sequence_length", "sequence length"),
        ("sequence_length", "seq_length"),
        ("sequence_length", "sequenceLength"),
        ("save", "Save"),
    ],
)
def test_case_dashes_and_letters(old: str, written: str) -> None:
    refused(renamed(old, written), f"{written} is an unknown key", f"did you mean `{old}`?")


@pytest.mark.parametrize(
    ("keys", "place_of_it", "meant"),
    [
        ({"LR": {"max": 1e-3}}, "LR", "lr"),
        ({"lr": {"warmup-iters": 5}}, "lr.warmup-iters", "warmup_iters"),
        ({"lr": {"warmup": 5}}, "lr.warmup", "warmup_iters"),
        ({"decay": {"alhpa": 0.5}}, "decay.alhpa", "alpha"),
        ({"versions": versions(10, Train=[])}, "versions.v1.Train", "train"),
        ({"versions": versions(10, valids={})}, "versions.v1.valids", "valid"),
        ({"versions": [{"name": "v1", "iter": 10}]}, "versions.v1.iter", "iters"),
        ({"versions": versions(10, decay={"Alpha": 0.5})}, "versions.v1.decay.Alpha", "alpha"),
        ({"versions": versions(10, replay={"shares": 0.5})}, "versions.v1.replay.shares", "share"),
        ({"versions": versions(10, train=[[1, "a"]], sources={"a": {"file": "x"}})}, "sources.a.file", "files"),
        ({"cuts": [{"name": "c", "forks": 1, "iters": 2}]}, "cuts.c.forks", "fork"),
        ({"paths": [{"name": "a", "end": 9, "schedule": [{"Kind": "hold"}]}]}, "paths.a.schedule[0].Kind", "kind"),
        ({"tokenizer": {"Model": "x"}}, "tokenizer.Model", "model"),
        ({"tokenizer": {"model": "x", "train": {"vocab-size": 5}}}, "tokenizer.train.vocab-size", "vocab_size"),
        ({"launch": {"slurm": {"gpus": 8}}}, "launch.slurm.gpus", "gpus_per_node"),
        ({"launch": {"Local": {}}}, "launch.Local", "local"),
        ({"keep": {"lastest": 2}}, "keep.lastest", "latest"),
        ({"alerts": {"hooks": []}}, "alerts.hooks", "hook"),
        ({"promote": {"gates": "x"}}, "promote.gates", "gate"),
    ],
)
def test_at_every_level(keys: dict[str, Any], place_of_it: str, meant: str) -> None:
    refused(plan_dict(**keys), f"{place_of_it} is an unknown key", f"did you mean `{meant}`?")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"alpha": 0.5}, "alpha is an unknown key, with the value 0.5. Fix: move it to `decay.alpha`."),
        ({"local": {}}, "move it to `launch.local`."),
        ({"versions": versions(10, vocab_size=5)}, "move it to `tokenizer.vocab_size`"),
        ({"micro-batch-size": 2}, "a flag of Megatron belongs under `megatron:`"),
        ({"num_layers": 2}, "a flag of Megatron belongs under `megatron:`"),
        ({"colour": 1}, "correct its spelling, or remove it"),
        ({"decay": {"alpha": 1, "6": None}}, "write numbers without commas"),
    ],
)
def test_keys_that_resemble_nothing_there(keys: dict[str, Any], says: str) -> None:
    refused(plan_dict(**keys), says)


def test_a_comma_in_a_number_is_seen() -> None:
    with pytest.raises(PlanError, match=r"versions\.v1\.500 is an unknown key.*write numbers without commas"):
        parse_plan(PLAN.replace("iters: 1000", "tokens: 1,500,000"), base=BASE)


# Places


DATA = {"versions": [{"name": "v1", "train": [[1, "a"]]}, {"iters": 3}, {"name": "../x"}, 7], "paradigm": "lrps"}


@pytest.mark.parametrize(
    ("loc", "named"),
    [
        ((), ""),
        (("versions",), "versions"),
        (("versions", 0), "versions.v1"),
        (("versions", 0, "train", 0, 1), "versions.v1.train[0][1]"),
        (("versions", 1, "name"), "versions[1].name (the 2nd version)"),
        (("versions", 2, "name"), "versions[2].name (the 3rd version)"),
        (("versions", 3), "versions[3] (the 4th version)"),
        (("paradigm", 0), "paradigm"),  # a single value, which is made a list
        (("a\nb",), "'a\\nb'"),
    ],
)
def test_places(loc: tuple[str | int, ...], named: str) -> None:
    assert place(loc, DATA) == named
