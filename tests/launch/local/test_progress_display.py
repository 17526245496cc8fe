import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from megatron_lrps.campaign.activity import Doing
from megatron_lrps.launch.local import progress_display
from megatron_lrps.launch.local.progress_display import BarDisplay, LineDisplay, RemainingWork, duration
from megatron_lrps.launch.local.rank_output import Step
from megatron_lrps.plan import PlannedPath, expand, parse_plan
from megatron_lrps.schedule import Schedule, hold_for_ever

ENDS = {"main": 14, "v1": 10}
PATHS = [
    PlannedPath(name=name, kind="explicit", paradigm="explicit", end=end, schedule=Schedule(hold_for_ever(0)))
    for name, end in ENDS.items()
]


def step(iteration: int, seconds: float = 2.0) -> Step:
    return Step(iteration=iteration, end=14, seconds=seconds, loss=6.5, next_lr=3e-4)


def test_what_is_left_is_summed_over_the_paths() -> None:
    work = RemainingWork({"main": 10, "v1": 4}, ENDS)
    assert (work.left("main"), work.left("v1"), work.left()) == (4, 6, 10)
    work.step("main", step(12), now=0.0)
    assert (work.left("main"), work.left()) == (2, 8)


def test_the_pace_is_the_clocks_and_holds_for_the_paths_to_come() -> None:
    work = RemainingWork({"main": 0, "v1": 4}, ENDS)
    assert work.time_left() == "?"
    work.step("main", step(2, seconds=1.0), now=100.0)
    assert work.time_left() == "18 s"  # 18 iterations at the 1 s of Megatron's first line
    work.step("main", step(4), now=110.0)
    assert work.time_left("main") == "50 s"  # 10 at 5 s: a save took its time
    work.start("v1", 4)
    assert work.time_left("v1") == "30 s"


def test_steps_read_at_one_instant_give_no_pace() -> None:
    work = RemainingWork({"main": 0}, {"main": 14})
    work.step("main", step(2), now=100.0)
    work.step("main", step(3), now=100.0)
    assert work.time_left() == "22 s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (45, "45 s"), (119, "119 s"), (720, "12 min"), (12240, "3.4 h"), (181440, "2.1 days")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_come_at_starts_and_ends_and_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: clock[0])
    with LineDisplay(PATHS, RemainingWork({"main": 0, "v1": 4}, ENDS)) as display:
        display.start("main", 0)
        for iteration in range(1, 15):
            clock[0] += 2.0
            display.step("main", step(iteration))
        display.finish("main")
    assert capsys.readouterr().out.splitlines() == [
        "main: training (0, 14]; 20 iterations left in all",
        "main: iteration 5/14, loss 6.5000, next lr 3.000e-04, 18 s left; in all 15 iterations, 30 s",
        "main: iteration 10/14, loss 6.5000, next lr 3.000e-04, 8 s left; in all 10 iterations, 20 s",
        "main: trained to iteration 14; 6 iterations left in all",
    ]


def test_what_takes_long_besides_training_has_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress_display.time, "time", lambda: clock[0])
    with LineDisplay(PATHS, RemainingWork({"main": 0, "v1": 4}, ENDS)) as display:
        display.start("main", 0)
        for done, now in enumerate(range(0, 42, 2)):
            clock[0] = float(now)
            display.tell("main", Doing(what="evaluating", name="v1-web", since=0.0, done=done, total=21))
        clock[0] = 60.0
        display.tell("main", Doing(what="saving", since=58.0, total=10))  # two seconds are no news
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"main: evaluating v1-web ({now // 2} of 21), for {now} s" for now in (10, 20, 30, 40)
    ]


PLAN = """
campaign: tiny
save: runs
sequence_length: 16
global_batch_size: 8
versions: [{name: v1, iters: 10}, {name: v2, iters: 10}]
"""


def drawn(height: int, doing: Doing | None = None) -> str:
    """The bars' last state, of main at iteration 7 of (0, 14] with v1 (4, 10] and v2 (14, 20] to come."""
    paths = expand(parse_plan(PLAN, base=Path())).paths
    out = io.StringIO()
    console = Console(file=out, width=120, height=height, force_terminal=False, color_system=None)
    work = RemainingWork({"main": 0, "v1": 4, "v2": 14}, {path.name: path.end for path in paths})
    with BarDisplay(paths, work, console) as display:
        display.start("main", 0)
        display.step("main", step(7))
        if doing is not None:
            display.tell("main", doing)
    return out.getvalue()


def test_there_is_a_bar_for_every_path_and_one_for_all() -> None:
    main, v1, v2, total = drawn(height=20).strip().splitlines()[-4:]
    assert re.match(r"main +\S+ +7/14 loss 6\.5000  next lr 3\.000e-04 +14 s", main)
    assert v1.startswith("v1")
    assert " 4/10 " in v1  # nothing of it is trained
    assert " 14/20 " in v2
    assert total.startswith("in all")
    assert re.search(r" 19 left +38 s$", total.rstrip())


def test_a_bar_says_what_is_done_besides_training() -> None:
    main, *_ = drawn(20, Doing(what="evaluating", name="v1-web", done=12, total=40)).strip().splitlines()[-4:]
    assert re.match(r"main +\S+ +7/14 evaluating v1-web \(12 of 40\) +14 s", main)


def test_a_low_terminal_shows_what_is_trained_and_the_sum() -> None:
    assert [line.split()[0] for line in drawn(height=5).strip().splitlines()[-2:]] == ["main", "in"]
    assert "v2" not in drawn(height=5)


def test_a_reader_that_is_gone_does_not_end_the_run() -> None:
    code = (
        "import sys\n"
        "from megatron_lrps.launch.local.progress_display import LineDisplay, RemainingWork\n"
        "sys.stdin.readline()\n"
        "LineDisplay([], RemainingWork({}, {})).say('nobody reads this')\n"
        "print('nor this')\n"
        "sys.exit(7)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(timeout=300) == 7
