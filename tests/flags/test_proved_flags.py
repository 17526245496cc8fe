"""The list of proved flags against the table of arguments, and some of its flags on real ranks."""

import json
from pathlib import Path

import pytest

from megatron_lrps.plan.megatron_arguments import by_flag
from megatron_lrps.plan.proved_flags import TABLE, is_refused, proved, unproved
from tests.flags.prove import RESULTS
from tests.flags.trial import BASE, refused_by_plan, trained, write_trial
from tests.flags.values import tried


def test_the_list_is_that_of_the_results() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    listed = [line.partition("\t")[0] for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]
    assert listed == sorted({flag for flag, found in results.items() if found["outcome"] == "proved"} | set(BASE))
    assert [flag for flag in listed if flag not in tried() or is_refused(flag)] == []
    # A traceback is no answer: `lrps plan` must refuse what a rank would end in.
    assert [flag for flag, found in results.items() if found["outcome"] == "failed"] == []


def test_a_plan_names_what_is_not_proved() -> None:
    assert unproved(
        {"num-layers": 2, "sequence-parallel": True, "sft": True, "fp8-format": "hybrid", "use-flash-attn": False}
    ) == ["fp8-format"]
    assert {"lr", "num-layers", "micro-batch-size", "bf16"} <= proved() <= set(by_flag())


@pytest.mark.training
def test_a_sample_of_the_proved_flags_is_trained(tmp_path: Path) -> None:
    """Padding that occurs in the text, too: a version begins with main's loss, whatever the process has read before."""
    flags = {"null-tokenizer-pad-id": 0, "normalization": "RMSNorm", "swiglu": True, "log-params-norm": True}
    plan = write_trial(tmp_path / "trial", flags, 1)
    assert refused_by_plan(plan) is None
    assert sorted(trained(plan, 1)) == [1, 2, 3, 4, 5]
