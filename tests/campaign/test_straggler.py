"""Which ranks are stragglers, on numbers that a reader can work out."""

import json
from pathlib import Path

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.pace import FILE, Pace, pace_of, write_pace
from megatron_lrps.campaign.straggler import StragglerJudge, stragglers
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.storage.ownership import acquire, holder

RULES = Alerts()


def pace(own: list[float], *, stages: list[int] | None = None, nodes: str = "", iterations: int = 128) -> Pace:
    """Ranks of one node each, unless their nodes are given as a letter each."""
    names = nodes or "abcdefgh"[: len(own)]
    return Pace(
        iterations=iterations, seconds=1.0, own=tuple(own), stages=tuple(stages or [0] * len(own)), nodes=tuple(names)
    )


def found(made: Pace, rules: Alerts = RULES) -> list[tuple[int, ...]]:
    return [each.ranks for each in stragglers(made, rules)]


def test_a_rank_is_compared_with_the_others_and_named_with_the_numbers() -> None:
    (slow,) = stragglers(pace([0.4, 0.9, 0.4, 0.41]), RULES)
    assert str(slow) == (
        "rank 1 on b needs 0.9 s of its own for an iteration, 2.25 times the 0.4 s of the others that do the same "
        "work; an iteration takes 1 s"
    )
    assert slow.values == {"rank": 1, "own": 0.9, "others": 0.4, "seconds": 1.0}
    assert found(pace([0.4, 0.79])) == []
    assert found(pace([0.4, 0.81])) == [(1,)]
    assert found(pace([0.9, 0.4, 0.95])) == [(2,), (0,)]  # two of three
    assert found(pace([0.4, 0.59]), Alerts(straggler=1.45)) == [(1,)]


def test_only_ranks_of_the_same_stage_do_the_same_work() -> None:
    assert found(pace([0.2, 0.2, 0.9, 0.9], stages=[0, 0, 1, 1])) == []
    assert found(pace([0.2, 0.5, 0.9, 0.9], stages=[0, 0, 1, 1])) == [(1,)]
    assert found(pace([0.2, 0.9], stages=[0, 1])) == []


def test_a_node_is_named_if_most_of_its_ranks_are_slow() -> None:
    (node,) = stragglers(pace([0.3, 0.3, 0.3, 0.9, 0.8, 0.3, 0.3, 0.3], nodes="aaabbccc"), RULES)
    assert str(node).startswith("node b (ranks 3, 4) needs 0.85 s of its own")
    assert found(pace([0.3, 0.9, 0.3, 0.3], nodes="aabb")) == [(1,)]
    assert found(pace([0.3, 0.9, 0.9, 0.3, 0.3], nodes="aaaaa")) == [(1,), (2,)]  # there is no other node


@pytest.mark.parametrize(
    ("made", "rules"),
    [
        (None, RULES),
        (pace([0.4, 0.9]), Alerts(straggler=None)),
        (pace([0.4, 0.9], iterations=31), RULES),  # a quarter of the window is 32
        (pace([0.9]), RULES),
        (pace([0.01, 0.1]), RULES),  # ten times, but hardly anything of an iteration
    ],
)
def test_what_is_not_judged(made: Pace | None, rules: Alerts) -> None:
    assert stragglers(made, rules) == []


def test_a_straggler_is_told_again_only_after_it_has_kept_up_for_a_while() -> None:
    judge, slow, well = StragglerJudge(Alerts(cool_down=100)), pace([0.4, 0.9]), pace([0.4, 0.4])
    told = [len(judge.look(made, now)) for made, now in ((slow, 0), (slow, 90), (well, 180), (slow, 185), (well, 190))]
    assert told == [1, 0, 0, 0, 0]
    assert [len(judge.look(made, now)) for made, now in ((well, 280), (slow, 290))] == [0, 1]


def test_the_pace_of_an_earlier_job_counts_no_more(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path).path("main")
    held = acquire(folder.root, say=print)
    made = pace([0.4, 0.9])
    write_pace(folder, held.token, made)
    assert pace_of(folder, holder(folder.root)) == made
    assert pace_of(folder, None) is None
    write_pace(folder, "another", made)
    assert pace_of(folder, holder(folder.root)) is None
    (folder.root / FILE).write_text(json.dumps({"token": held.token, "iterations": 3}))
    assert pace_of(folder, holder(folder.root)) is None
