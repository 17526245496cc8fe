"""Validation sets are read in turn, and each evaluation of a run reads the same samples."""

from megatron_lrps.bridge.sets_in_turn import InTurn


def read(sets: InTurn, first: int, count: int) -> list[str]:
    return [sets[position] for position in range(first, first + count)]  # type: ignore[misc]


def test_two_sets_take_turns_and_begin_anew_with_each_evaluation() -> None:
    sets = InTurn([["a0", "a1", "a2"], ["b0"]], begin=0, each=4, end=12)
    assert len(sets) == 12
    assert read(sets, 0, 4) == ["a0", "b0", "a1", "b0"]
    assert read(sets, 4, 4) == read(sets, 8, 4) == read(sets, 0, 4)


def test_a_resumed_run_begins_at_its_first_sample() -> None:
    sets = InTurn([["a0", "a1", "a2"]], begin=6, each=2, end=10)  # the run before it read three evaluations
    assert read(sets, 6, 2) == read(sets, 8, 2) == ["a0", "a1"]
