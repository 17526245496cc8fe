"""The moments of a session at which it decides by itself, without Megatron and on no disk."""

from pathlib import Path

import pytest

from megatron_lrps.schedule import Batches, main_schedule
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.session import Session


def session_of(folder: Path, *, end: int = 8, until: int = 8, needed_saves: tuple[int, ...] = (4,)) -> Session:
    return Session(
        PathToTrain(
            schedule=main_schedule(warm=0, batches=Batches.of(1)),
            batches=Batches.of(1),
            own=folder,
            parent=None,
            fork=0,
            end=end,
            until=until,
            needed_saves=frozenset(needed_saves),
        )
    )


def decided(session: Session, iteration: int, *, exits: bool = False) -> tuple[bool, int]:
    """(whether training ends after the iteration, how often it was saved for the plugin's reasons)."""
    saves: list[int] = []

    def save() -> None:
        saves.append(iteration)

    ends = session.decide_exit(
        iteration, decide=lambda: exits, save=save, signalled=lambda: False, interval=lambda: None
    )
    return ends, len(saves)


def test_fork_points_and_the_end_of_a_part_are_saved(tmp_path: Path) -> None:
    whole, part = session_of(tmp_path), session_of(tmp_path, until=6)
    assert [decided(whole, iteration) for iteration in (3, 4, 6, 8)] == [(False, 0), (False, 1), (False, 0), (False, 0)]
    assert [decided(part, iteration) for iteration in (4, 5, 6)] == [(False, 1), (False, 0), (True, 1)]


@pytest.mark.parametrize(
    ("until", "iteration", "exits", "code"),
    [(8, 5, True, 75), (6, 6, False, 0), (8, 8, True, None), (8, 5, False, None)],
)
def test_an_early_end_has_its_exit_code(
    until: int, iteration: int, exits: bool, code: int | None, tmp_path: Path
) -> None:
    session = session_of(tmp_path, until=until)
    decided(session, iteration, exits=exits)
    assert session.training_left(SystemExit(0)) == code
    assert session.training_left(SystemExit(1)) is None  # a failure keeps its own
    assert session.training_left(RuntimeError("NCCL")) is None


def test_an_iteration_is_saved_once(tmp_path: Path) -> None:
    session = session_of(tmp_path)
    written: list[int] = []
    for iteration, persistent in ((4, True), (4, True), (5, False), (5, True), (6, True), (4, True)):
        session.save(iteration, lambda at=iteration: written.append(at), persistent=persistent)  # type: ignore[misc]
    assert written == [4, 5, 5, 6, 4]
