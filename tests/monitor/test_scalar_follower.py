"""Following event files as a job writes them: what is new, what is torn, and what a restart does."""

import shutil
from pathlib import Path

import pytest

from megatron_lrps.monitor.scalar_follower import TAIL_BYTES, Follower
from tests.monitor.conftest import LogJob


def logged(steps: range, loss: float = 3.0) -> list[tuple[str, int, float]]:
    tags = (("learning-rate", 1e-3), ("learning-rate vs samples", 1e-3), ("lm loss", loss), ("grad-norm", 0.5))
    return [(tag, step, value + (step / 1000 if tag == "lm loss" else 0)) for step in steps for tag, value in tags]


def test_the_last_iteration_and_its_figures(tmp_path: Path, log_job: LogJob) -> None:
    follower = Follower(tmp_path / "main")
    assert follower.look() is None
    log_job(tmp_path / "main", logged(range(1, 11)))
    figures = follower.look()
    assert figures is not None
    assert figures.iteration == 10
    assert figures.loss == pytest.approx(3.01)
    assert (figures.next_lr, figures.grad_norm) == (pytest.approx(1e-3), 0.5)
    assert figures.seconds is not None


def test_a_long_file_is_read_from_its_end_and_gives_what_reading_all_gives(tmp_path: Path, log_job: LogJob) -> None:
    file = log_job(tmp_path / "main", logged(range(1, 2001)))
    assert file.stat().st_size > 3 * TAIL_BYTES
    figures = Follower(tmp_path / "main").look()
    assert figures is not None
    assert (figures.iteration, figures.loss) == (2000, pytest.approx(5.0))


def test_each_look_reads_only_what_is_new_and_a_torn_record_is_waited_for(tmp_path: Path, log_job: LogJob) -> None:
    whole = log_job(tmp_path / "whole", logged(range(1, 31))).read_bytes()
    file = tmp_path / "main" / "events.out.tfevents.1.host"
    file.parent.mkdir()
    follower, seen = Follower(file.parent), []
    for end in range(0, len(whole) + 1, 37):  # 37 bytes a look: nearly every one ends inside of a record
        file.write_bytes(whole[:end])
        figures = follower.look()
        seen.append(0 if figures is None else figures.iteration)
    file.write_bytes(whole)
    figures = follower.look()
    assert figures is not None
    assert figures.iteration == 30
    assert seen == sorted(seen)
    assert set(seen) == set(range(31)) - {30} or set(seen) == set(range(31))  # none is left out


def test_a_restart_counts_once_it_has_logged(tmp_path: Path, log_job: LogJob) -> None:
    folder = tmp_path / "main"
    log_job(folder, logged(range(1, 21)))
    follower = Follower(folder)
    log_job(folder, [])  # begun, and nothing logged yet
    figures = follower.look()
    assert figures is not None
    assert figures.iteration == 20
    log_job(folder, logged(range(11, 14)))  # it retrains from 10 on
    figures = follower.look()
    assert figures is not None
    assert figures.iteration == 13


def test_files_that_are_damaged_derived_or_gone_are_lived_with(tmp_path: Path, log_job: LogJob) -> None:
    folder = tmp_path / "main"
    log_job(folder, logged(range(1, 6)))
    (folder / "events.out.tfevents.99.noise").write_bytes(bytes(range(256)) * 8)
    derived = log_job(tmp_path / "other", logged(range(1, 100)))
    shutil.copy(derived, folder / "events.out.tfevents.98.host.lrps")
    follower = Follower(folder)
    figures = follower.look()
    assert figures is not None
    assert figures.iteration == 5
    shutil.rmtree(folder)
    figures = follower.look()
    assert figures is None or figures.iteration == 5
