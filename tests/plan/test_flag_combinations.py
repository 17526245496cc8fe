"""Flags that go only together, refused before Megatron asserts it."""

from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.flag_combinations import refuse_incomplete
from tests.plan.test_flags import flags_of, refused


@pytest.mark.parametrize(
    ("flags", "says", "fix"),
    [
        ({"mtp-num-layers": 1}, "mtp-num-layers: 1 is given with positions of the kind learned_absolute", "to rope"),
        ({"mtp-num-layers": 1, "position-embedding-type": "yarn"}, "of the kind yarn", "to rope"),
        ({"defer-embedding-wgrad-compute": True}, "is given without pipeline stages", "raise pipeline"),
        ({"optimizer-cpu-offload": True}, "without use-precision-aware-optimizer", "add use-precision-aware"),
        ({"use-precision-aware-optimizer": True}, "without use-distributed-optimizer", "add use-distributed"),
        ({"overlap-param-gather": True}, "overlap-param-gather: True is given without use-distributed", "add use-dist"),
        (
            {"overlap-param-gather": True, "use-distributed-optimizer": True},
            "is given without overlap-grad-reduce",
            "add overlap-grad-reduce",
        ),
        (
            {"qk-l2-norm": True, "transformer-impl": "local"},
            "would be left out: Megatron's local layers",
            "remove it",
        ),
        ({"optimizer": "muon"}, "optimizer: muon is given for fp32 weights", "add bf16: true"),
        ({"bf16": True, "fp16": True}, "fp16: True is given beside bf16", "give one of the two"),
        ({"no-initialization": True}, "the paths start from scratch", "pretrained-checkpoint"),
    ],
)
def test_what_goes_only_together_is_refused_by_name(flags: dict[str, Any], says: str, fix: str) -> None:
    refused(says, fix, megatron=flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"mtp-num-layers": 1, "position-embedding-type": "rope"},
        {"mtp-num-layers": 1, "use-rotary-position-embeddings": True},
        {"mtp-num-layers": 0},
        {"optimizer": "muon", "fp16": True},
        {"optimizer": "dist_muon", "bf16": True, "overlap-grad-reduce": True, "overlap-param-gather": True},
        {"bf16": True, "fp16": False},
        {"use-distributed-optimizer": True, "overlap-grad-reduce": True, "overlap-param-gather": True},
        {"defer-embedding-wgrad-compute": True, "pipeline-model-parallel-size": 2},
        {"no-initialization": True, "pretrained-checkpoint": "weights"},
    ],
)
def test_what_goes_together_passes(flags: dict[str, Any]) -> None:
    assert "num-layers" not in flags_of(megatron=flags)


def test_the_prefix_is_the_callers() -> None:
    with pytest.raises(PlanError, match="--fp16: True is given beside bf16"):
        refuse_incomplete({"bf16": True, "fp16": True}, "--")
