"""What a launcher must have said to a rank."""

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.rank_environment import refuse_no_launcher, refuse_wrong_numbers


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANK": "abc"}, "RANK is 'abc', which is not a number."),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', which is not a number."),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0, but it must be 1 or more."),
        ({"RANK": "-1"}, "RANK is -1, but it must be 0 or more."),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK is '', which is not a number."),
        # Megatron would wait for ranks that never come.
        ({"RANK": "3"}, "RANK is 3 and WORLD_SIZE is 1, but ranks are counted from 0."),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2, but ranks are counted from 0."),
        # Each process would take itself for rank 0.
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set."),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http', which is not a number."),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT is 70000, but it must be 65535 or less."),
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
