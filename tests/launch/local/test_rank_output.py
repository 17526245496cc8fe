import traceback
from pathlib import Path

import pytest

from megatron_lrps.launch.local.rank_output import LogFollower, Step, failed_rank, last_lines, parse_step
from tests.launch.fake_pretrain import LINE

REPORT = """\
W1124 04:10:38.485000 13326 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 13355 closing signal SIGTERM
E1124 04:10:38.487000 13326 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: {code}) local_rank: 1 (pid: 13356) of binary: python
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
"""  # noqa: E501


def test_megatrons_line_gives_position_time_loss_and_next_lr() -> None:
    line = LINE.format(5, 10, 40, 170.1, 3.0e-4, 6.5737)
    assert parse_step(line) == Step(iteration=5, end=10, seconds=0.1701, loss=6.5737, next_lr=3.0e-4)


@pytest.mark.parametrize(
    ("line", "loss", "next_lr"),
    [
        # Skipped samples stand between; a pipeline stage in the middle logs no learning rate.
        (
            " iteration        5/      10 | consumed samples:           40 | skipped samples:            8 | "
            "elapsed time per iteration (ms): 170.1 | global batch size:     8 | lm loss: 6.573700E+00 | "
            "loss scale: 1.0 |",
            6.5737,
            None,
        ),
        # Megatron leaves a loss out that is not >= 0, as NaN is.
        (
            " iteration        5/      10 | consumed samples:           40 | elapsed time per iteration (ms): 170.1 | "
            "learning rate: 3.000000E-04 | global batch size:     8 | loss scale: 1.0 |",
            None,
            3.0e-4,
        ),
    ],
)
def test_what_megatron_leaves_out_is_none(line: str, loss: float | None, next_lr: float | None) -> None:
    assert parse_step(line) == Step(iteration=5, end=10, seconds=0.1701, loss=loss, next_lr=next_lr)


@pytest.mark.parametrize(
    "line", ["", "validation loss at iteration 5 | lm loss value: 6.5E+00 |", " iteration    5/   1"]
)
def test_other_lines_are_no_steps(line: str) -> None:
    assert parse_step(line) is None


@pytest.mark.parametrize(
    ("first", "second", "own"),
    [
        ((1, 6.5990, 0), (2, 6.57375, 0), 6.5485),  # Megatron prints the mean of both
        ((1, 6.5990, 0), (5, 6.5586, 0), 6.5485),  # --log-interval 5: four iterations since the first line
        ((1, 0.0, 1), (2, 6.5485, 1), 6.5485),  # the first was skipped, and has no loss
        ((1, 6.5990, 0), (2, 6.5990, 1), None),  # the second was
    ],
)
def test_the_second_line_of_a_start_is_without_the_first(
    first: tuple[int, float, int], second: tuple[int, float, int], own: float | None, tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    lines = [
        LINE.format(number, 10, 8, 100, 3e-4, loss).replace(
            "skipped iterations:   0", f"skipped iterations: {skipped:3d}"
        )
        for number, loss, skipped in (first, second, (second[0] + 1, 6.4, 0))
    ]
    log.write_text("".join(f"{line}\n" for line in lines))
    found = list(LogFollower(log).steps())
    assert [step.loss for step in (found[0], found[2])] == [first[1], 6.4]
    assert found[1].loss == (own if own is None else pytest.approx(own, abs=1e-5))


def test_a_line_is_read_once_and_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    line = LINE.format(1, 10, 8, 1, 3e-4, 7).encode()
    log.write_bytes(b"starting\n" + line[:100])
    follower = LogFollower(log)
    assert list(follower.steps()) == []
    with log.open("ab") as file:
        file.write(line[100:] + b"\n")
    assert [step.iteration for step in follower.steps()] == [1]
    assert list(follower.steps()) == []


def test_the_last_words_are_the_ranks_own(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    step = LINE.format(1, 10, 8, 1, 3e-4, 7)
    log.write_text(f"*****\n\nloading\n{step}\n  saving\nkilled\n\n" + REPORT.format(code=1))
    assert last_lines(log) == ["loading", "  saving", "killed"]
    assert last_lines(log, 2) == ["  saving", "killed"]


@pytest.mark.parametrize("cut_off", [False, True])
def test_of_a_traceback_the_error_is_shown(tmp_path: Path, cut_off: bool) -> None:
    log = tmp_path / "a.log"
    try:
        raise ValueError("a rank is gone")
    except ValueError as error:
        lines = traceback.format_exception(error)
    # Megatron logs the list; the rank prints the lines, and may be killed while it does so.
    printed = lines[0] if cut_off else "".join(lines)
    log.write_text(f"  loading\n{lines}\n{printed}{REPORT.format(code=-9)}")
    assert last_lines(log) == ["  loading", *([] if cut_off else ["ValueError: a rank is gone"])]


def test_without_a_word_of_the_ranks_torchruns_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(REPORT.format(code=1))
    assert last_lines(log, 3)[1].endswith("ChildFailedError:")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "rank 1 ended with exit code 1"),
        (-11, "rank 1 was ended by signal 11"),
        (-9, "rank 1 was ended by signal 9 (SIGKILL, usually because memory ran out)"),
    ],
)
def test_torchrun_names_the_rank_that_ended_first(tmp_path: Path, code: int, text: str) -> None:
    log = tmp_path / "a.log"
    log.write_text("loading\n" + REPORT.format(code=code))
    assert str(failed_rank(log)) == text


def test_no_report_no_failed_rank(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("loading\n")
    assert failed_rank(log) is None
