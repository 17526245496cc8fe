"""What Megatron prints, as figures: lines as megatron-core 0.19 writes them, with losses a reader can work out."""

from datetime import datetime, timedelta

import pytest

from megatron_lrps.monitor.printed_figures import read_printed

NOON = datetime(2026, 11, 24, 12, 0, 0, 500000)


def begin(second: float = 0) -> str:
    return f"[before the start of training step] datetime: {NOON + timedelta(seconds=second)} "


def line(iteration: int, second: float, loss: float | str, *, skipped: int = 0, ms: float = 250.0) -> str:
    shown = loss if isinstance(loss, str) else f"{loss:.6E}"
    return (
        f" [{NOON + timedelta(seconds=second)}] iteration {iteration:8d}/     100 |"
        f" consumed samples: {4 * iteration:12d} |"
        f" elapsed time per iteration (ms): {ms:.1f} | throughput per GPU (TFLOP/s/GPU): 41.5 |"
        f" learning rate: 3.000000E-04 | global batch size:     4 | lm loss: {shown} | loss scale: 1.0 |"
        f" grad norm: 1.250 | number of skipped iterations: {skipped:3d} | number of nan iterations:   0 |"
    )


def validation(iteration: int, loss: float, *, where: str = "") -> str:
    return (
        f" validation-v1-web loss at iteration {iteration}{where} | lm loss value: {loss:.6E} | lm loss PPL: 2.0E+01 | "
    )


@pytest.fixture
def read(tmp_path):
    def read(*logs: list[str], end: str = "\n"):
        for number, lines in enumerate(logs):
            (tmp_path / f"{number}.log").write_text("\n".join(lines) + end)
        return read_printed(tmp_path)

    return read


def values(printed, tag):
    return [(step, value) for step, value, _ in printed.points.get(tag, [])]


def test_nothing_printed(tmp_path):
    found = read_printed(tmp_path / "absent")
    assert (found.points, found.left_out, found.rank_hours) == ({}, (), None)


def test_figures_have_tensorboards_tags_and_the_time_of_their_line(read):
    found = read([begin(), line(1, 1, 8.0), line(2, 2, 7.0), line(3, 3, 4.0, ms=500)])
    assert values(found, "lm loss") == [(1, 8.0), (3, 4.0)]
    assert found.left_out == (2,)  # 7 is the mean of 8 and 6
    assert values(found, "learning-rate") == [(1, 3e-4), (2, 3e-4), (3, 3e-4)]
    assert values(found, "grad-norm")[0] == (1, 1.25)
    assert values(found, "batch-size")[0] == (1, 4.0)
    # The first two lines hold the start-up.
    assert values(found, "iteration-time") == [(3, 0.5)]
    assert values(found, "throughput") == [(3, 41.5)]
    assert found.points["lm loss"][0].time == (NOON + timedelta(seconds=1)).timestamp()


def test_a_resume_replaces_what_it_trained_again_and_has_a_mean_of_its_own(read):
    first = [begin(), *(line(i, i, 8.0 - i) for i in range(1, 7))]
    second = [begin(60), line(5, 61, 2.5), line(6, 62, 2.25)]
    found = read(first, second)
    assert values(found, "lm loss") == [(1, 7.0), (3, 5.0), (4, 4.0), (5, 2.5)]
    assert found.left_out == (2, 6)


def test_a_requeued_job_goes_on_in_the_log_it_had(read):
    one = [begin(), line(1, 1, 8.0), line(2, 2, 7.0), line(3, 3, 4.0)]
    found = read([*one, "resumed", begin(9), line(4, 10, 3.5), line(5, 11, 3.0), line(6, 12, 2.0)])
    assert values(found, "lm loss") == [(1, 8.0), (3, 4.0), (4, 3.5), (6, 2.0)]
    assert found.left_out == (2, 5)


def test_a_mean_over_several_iterations_is_called_so(read):
    found = read([begin(), line(1, 1, 8.0), line(10, 10, 7.0), line(20, 20, 6.0), line(30, 30, 5.0)])
    assert values(found, "lm loss") == [(1, 8.0)]
    assert values(found, "lm loss mean") == [(20, 6.0), (30, 5.0)]
    assert found.left_out == (10,)
    assert [step for step, _ in values(found, "learning-rate")] == [1, 10, 20, 30]


def test_a_log_without_its_beginning_has_no_first_loss(read):
    found = read([line(7, 1, 3.0), line(8, 2, 3.0), line(9, 3, 2.0)])
    assert values(found, "lm loss") == [(9, 2.0)]
    assert found.left_out == (7, 8)


def test_skipped_and_not_finite_losses_are_none(read):
    start = [begin(), line(1, 1, 8.0), line(2, 2, 7.0)]
    found = read([*start, line(3, 3, 0.0, skipped=1), line(4, 4, "inf"), line(5, 5, 2.0)])
    assert values(found, "lm loss") == [(1, 8.0), (4, float("inf")), (5, 2.0)]
    assert values(found, "grad-norm")[2] == (3, 1.25)


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_a_torn_line_is_none(read, cut):
    found = read([begin(), line(1, 1, 8.0), line(2, 2, 7.0), line(3, 3, 4.0)[:-cut]], end="")
    assert values(found, "lm loss") == [(1, 8.0)]
    assert values(found, "learning-rate")[-1][0] == 2


def test_validation_losses_without_the_test_sets(read):
    ends = [
        validation(3, 3.0),
        validation(3, 3.0, where=" on validation set"),
        validation(3, 9.0, where=" on test set"),
    ]
    found = read([begin(), line(1, 1, 8.0), line(2, 2, 7.0), line(3, 3, 4.0), *ends])
    assert values(found, "lm loss validation-v1-web") == [(3, 3.0)]
    assert values(found, "lm loss validation-v1-web ppl") == [(3, 20.0)]
    assert found.points["lm loss validation-v1-web"][0].time == found.points["lm loss"][-1].time


def test_rank_hours_by_hand(read):
    world = "  world_size ...................................... 8"
    other = "  inprocess_active_world_size ..................... 1"
    first = [other, world, begin(), line(1, 10, 8.0, ms=5000), line(2, 12, 7.0), line(3, 20, 4.0)]
    # 5 s for the first iteration and 10 s to the last; then 2 s and 1 s; 8 ranks each.
    found = read(first, [world, begin(100), line(3, 102, 4.0, ms=2000), line(4, 103, 3.0)])
    assert found.rank_hours == pytest.approx(18 * 8 / 3600)
    assert read(first, [begin(100), line(3, 102, 4.0)]).rank_hours is None  # that log does not say its ranks


def test_what_is_no_line_of_megatrons_is_passed_over(read):
    noise = [
        "iteration",
        " iteration 5",
        "\x00\x00 iteration \udcff".encode("utf-8", "replace").decode(),
        "| lm loss: 3 |",
    ]
    assert read([begin(), *noise]).points == {}


def test_a_log_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "0.log").mkdir()
    with pytest.raises(OSError, match=r"0\.log"):
        read_printed(tmp_path)
