"""What a window is drawn from: exact counts, spread evenly, and no later version changes them."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import Tree
from megatron_lrps.plan.window_samples import Interleaved, portions_of, shared_out, windows_read
from tests.plan.plans import assert_one_clear_line, tree_of, versions


def replaying(*replays: Any, sizes: tuple[int, ...] = (300, 100, 50)) -> Tree:
    """v1, v2, v3 of so many iterations of 8 samples; None replays nothing."""
    listed = versions(*sizes)
    for version, replay in zip(listed, replays, strict=False):
        if replay is not None:
            version["replay"] = replay
    return tree_of(versions=listed)


def parts(tree: Tree, number: int) -> dict[str, int]:
    return {part.window.version.name: part.samples for part in portions_of(tree, tree.windows[number - 1])}


def test_without_replay_a_window_is_its_own_data() -> None:
    assert parts(replaying(), 2) == {"v2": 800}


def test_earlier_windows_are_replayed_by_their_samples() -> None:
    tree = replaying(None, 0.1, 0.2)
    assert parts(tree, 1) == {"v1": 2400}
    assert parts(tree, 2) == {"v2": 720, "v1": 80}
    # 80 of 400 samples: v1 has 300 iterations and v2 100, so 60 and 20
    assert parts(tree, 3) == {"v3": 320, "v1": 60, "v2": 20}


def test_even_draws_alike_from_all_windows_so_far() -> None:
    """v3's 400 samples are a ninth of all 3,600: 300, 100 and 50 iterations of 8 samples."""
    tree = replaying(None, "even", {"share": "even"})
    assert parts(tree, 2) == {"v2": 200, "v1": 600}  # three quarters of all so far are v1's
    assert parts(tree, 3) == {"v3": 44, "v1": 267, "v2": 89}
    equal = replaying(None, "even", "even", sizes=(10, 10, 10))
    assert parts(equal, 2) == parts(replaying(None, 0.5, sizes=(10, 10)), 2) == {"v2": 40, "v1": 40}
    assert parts(equal, 3) == {"v3": 27, "v1": 26, "v2": 27}


def test_weights_choose_what_is_replayed() -> None:
    tree = replaying(None, None, {"share": 0.3, "weights": {"v1": 0.5, "v2": 0.25}})
    assert parts(tree, 3) == {"v3": 280, "v1": 80, "v2": 40}
    assert parts(replaying(None, None, {"share": 0.3, "weights": {"v2": 7}}), 3) == {"v3": 280, "v2": 120}


def test_the_share_is_the_decimal_that_the_plan_has() -> None:
    # 0.1 as a float is a little more than a tenth; half a sample counts as one
    assert parts(replaying(None, 0.1, sizes=(10, 10)), 2) == {"v2": 72, "v1": 8}
    assert parts(replaying(None, 0.00625, sizes=(10, 10)), 2) == {"v2": 79, "v1": 1}


def test_a_later_version_changes_nothing_before_it() -> None:
    two, three = replaying(None, 0.1, sizes=(300, 100)), replaying(None, 0.1, 0.2)
    assert [parts(two, number) for number in (1, 2)] == [parts(three, number) for number in (1, 2)]


@pytest.mark.parametrize(
    ("replays", "words"),
    [
        ((0.1,), "versions.v1.replay: 0.1 is given, but there is no window before this one."),
        ((None, {"share": 0.1, "weights": {"v3": 1}}), "versions.v2.replay.weights: v3 is not an earlier version."),
        ((None, {"share": 0.1, "weights": {"x": 1}}), "versions.v2.replay.weights: x is not an earlier version."),
        ((None, 0.0001), "versions.v2.replay: 0.0001 of 800 samples is 0 samples"),
        ((None, 0.9999), "versions.v2.replay: 0.9999 of 800 samples is 800 samples"),
        ((None, 0), "versions.v2.replay: 0 is not valid here"),
        ((None, 1.0), "versions.v2.replay: 1.0 is not valid here"),
        (("even",), "versions.v1.replay: even is given, but there is no window before this one."),
        ((None, {"share": "even", "weights": {"v1": 1}}), "versions.v2.replay: has weights beside share: even"),
        ((None, "much"), "versions.v2.replay: 'much' is not valid here"),
        ((None, [0.1]), "versions.v2.replay: [0.1] is not valid here"),
        ((None, {"weights": {"v1": 1}}), "versions.v2.replay.share is missing"),
        ((None, {"share": 0.1, "weights": {}}), "versions.v2.replay.weights: {} is not valid here"),
        ((None, {"share": 0.1, "weights": {"v1": 0}}), "versions.v2.replay.weights.v1: 0 is not valid here"),
        ((None, {"share": 0.1, "of": "v1"}), "versions.v2.replay.of is an unknown key"),
    ],
)
def test_impossible_replays_are_refused(replays: tuple[Any, ...], words: str) -> None:
    with pytest.raises(PlanError) as refusal:
        replaying(*replays)
    assert_one_clear_line(refusal.value, words)


def test_windows_that_a_path_still_reads() -> None:
    tree = replaying(None, None, {"share": 0.5, "weights": {"v1": 1}})

    def names(path: str, position: int) -> list[str]:
        return [window.version.name for window in windows_read(tree, tree.path(path), position)]

    assert names("main", 0) == ["v1", "v2", "v3"]
    assert names("main", 299) == ["v1", "v2", "v3"]
    assert names("main", 300) == ["v1", "v2", "v3"]
    assert names("main", 400) == ["v1", "v3"]  # v2 is passed, v1 is still replayed
    assert names("v2", 350) == ["v2"]
    assert names("v2", 400) == []
    mixed = tree_of(versions=versions(300, 100), paradigm="ptfs")
    assert [window.version.name for window in windows_read(mixed, mixed.path("ptfs-v2"), 400)] == ["v1", "v2"]


def test_shares_add_up() -> None:
    assert shared_out(10, [1, 1, 1]) == [3, 3, 4]
    assert shared_out(7, [0, 5]) == [0, 7]


# interleaving


def test_two_sequences_alternate_evenly() -> None:
    spread = Interleaved((6, 2))
    assert [spread.locate(position) for position in range(8)] == [
        *((0, 0), (0, 1), (0, 2), (1, 0)),
        *((0, 3), (0, 4), (0, 5), (1, 1)),
    ]
    assert [spread.before(position) for position in (0, 3, 4, 8)] == [[0, 0], [3, 0], [3, 1], [6, 2]]


@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_every_sample_comes_once_in_its_order_and_evenly(counts: list[int]) -> None:
    spread, total = Interleaved(tuple(counts)), sum(counts)
    passed = [0] * len(counts)
    for position in range(total):
        assert spread.before(position) == passed
        sequence, place = spread.locate(position)
        assert place == passed[sequence]
        passed[sequence] += 1
        # never a whole sample away from the exact share, a sample more for each sequence before
        for number, count in enumerate(counts):
            exact = Fraction(count * (position + 1), total)
            assert abs(passed[number] - exact) < 1 + number
    assert spread.before(total) == counts


def test_a_trillion_samples_need_no_table() -> None:
    spread = Interleaved((9 * 10**11, 10**11))
    assert spread.locate(10**12 - 1) == (1, 10**11 - 1)
    assert spread.before(5 * 10**11) == [45 * 10**10, 5 * 10**10]


def test_there_is_nothing_where_nothing_is() -> None:
    with pytest.raises(IndexError):
        Interleaved((0, 0)).locate(0)
