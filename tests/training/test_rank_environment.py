"""What a launcher must have said to a rank."""

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.rank_environment import refuse_no_launcher, refuse_wrong_numbers


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANK": "abc"}, "RANK: 'abc' is no number."),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: 'two' is no number."),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE: 0 is below 1."),
        ({"RANK": "-1"}, "RANK: -1 is below 0."),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK: '' is no number."),
        # Megatron would wait for ranks that never come.
        ({"RANK": "3"}, "RANK: 3, and WORLD_SIZE is 1: ranks are counted from 0."),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK: 2, and WORLD_SIZE is 2: ranks are counted from 0."),
        # Each process would take itself for rank 0.
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, and RANK is not set."),
        ({"MASTER_PORT": "http"}, "MASTER_PORT: 'http' is no number."),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT: 70000 is above 65535."),
    ],
)
def test_ranks_that_are_none_are_refused(environment: dict[str, str], says: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        refuse_wrong_numbers(environment)
    assert refusal.value.what == says
    assert refusal.value.fix


@pytest.mark.parametrize(
    "environment",
    [{}, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_PORT": "29500"}, {"RANK": "7", "WORLD_SIZE": "8"}],
)
def test_what_a_launcher_says_is_taken(environment: dict[str, str]) -> None:
    refuse_wrong_numbers(environment)


def test_a_rank_without_a_launcher_is_told_how_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(RefusedError, match=r"^MASTER_ADDR is not set\. Fix: .*lrps run PLAN, or torchrun"):
        refuse_no_launcher(["--num-layers", "2"])
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(RefusedError, match="MASTER_ADDR and MASTER_PORT are not set"):
        refuse_no_launcher([])
    refuse_no_launcher(["--help"])
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    refuse_no_launcher([])
