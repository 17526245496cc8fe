"""`lrps status --watch` over a campaign on disk: as lines, on a terminal, and to its end."""

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from megatron_lrps.campaign.activity import Teller
from megatron_lrps.campaign.record import log_event
from megatron_lrps.campaign.standing import Standing
from megatron_lrps.cli import status_watch as watching
from megatron_lrps.launch.slurm.job_history import record
from megatron_lrps.monitor.live_standing import LiveStanding, Watch
from megatron_lrps.monitor.scalar_follower import Figures
from megatron_lrps.plan import PlannedPath
from megatron_lrps.storage.ownership import Ownership, acquire
from tests.conftest import Lrps
from tests.launch.campaign import TinyCampaign, campaign
from tests.monitor.conftest import LogJob, log_job
from tests.storage.owners import holding

__all__ = ["campaign", "log_job"]  # fixtures


def figures(first: int, last: int) -> list[tuple[str, int, float]]:
    tags = (("learning-rate", 2e-3), ("lm loss", 4.0), ("grad-norm", 0.25))
    return [(tag, step, value) for step in range(first, last + 1) for tag, value in tags]


@pytest.fixture
def begun(campaign: TinyCampaign, log_job: LogJob) -> TinyCampaign:
    """main at 12 of 14, saved at 10; v1 trained; v2 waiting for main at 14."""
    campaign.save("main", 4)
    campaign.save("main", 10)
    campaign.save("v1", 10)
    log_event(campaign.folder("main"), "started", iteration=0)
    log_event(campaign.folder("main"), "alert", iteration=11, kind="loss_spike", message="loss_spike: up")
    log_job(tensorboard(campaign), figures(1, 12), at=time.time() - 12)
    return campaign


@pytest.fixture
def held(begun: TinyCampaign) -> Iterator[Ownership]:
    """main's, by this process."""
    with acquire(begun.folder("main").root, say=print) as ownership:
        yield ownership


def tensorboard(campaign: TinyCampaign, path: str = "main") -> Path:
    return campaign.folder(path).root.parent.parent / "tensorboard" / path


def test_a_look_gives_what_is_logged_by_then(begun: TinyCampaign, held: Ownership, log_job: LogJob) -> None:
    watch = Watch(begun.plan)
    main, v1, v2 = watch.look()
    assert (main.state, main.iteration, main.path.end, main.done) == ("in progress", 12, 14, False)
    assert (main.seconds_left, main.tokens_per_second) == (2.0, 128.0)  # a second each for 8 samples of 16 tokens
    assert main.figures is not None
    assert (main.figures.loss, main.figures.grad_norm) == (4.0, 0.25)
    assert [alert.partition(" (")[0] for alert in main.alerts] == ["main: alert at iteration 11: loss_spike: up"]
    assert (v1.state, v1.iteration, v1.done) == ("trained", 10, True)
    assert (v2.state, v2.iteration, v2.begun, v2.figures) == ("waiting for main at 14", 14, False, None)
    begun.save("main", 14)
    log_event(begun.folder("main"), "saved", iteration=14)
    main, _, v2 = watch.look()
    assert (main.state, main.iteration, v2.state) == ("trained", 14, "ready")
    assert main.held  # it still evaluates


def test_what_nobody_trains_has_no_time_left(begun: TinyCampaign, held: Ownership) -> None:
    watch = Watch(begun.plan)
    teller = Teller(begun.folder("main"), held.token)
    teller.tell("loading")  # of a start: the pace is that of the run before it
    main = watch.look()[0]
    assert (main.state, main.seconds_left, main.tokens_per_second) == ("loading a checkpoint", None, None)
    teller.tell("evaluating", name="v1-web", done=12, total=40)
    main = watch.look()[0]
    assert (main.state, main.seconds_left) == ("evaluating v1-web (12 of 40)", 2.0)
    log_event(begun.folder("main"), "stopped", iteration=12, reason="signal")
    held.release()
    main = watch.look()[0]
    # The last save is at 10: 11 and 12 will be trained again.
    assert (main.state, main.iteration) == ("stopped at 10 of 14 (Ctrl-C or a signal)", 10)
    assert (main.held, main.seconds_left, main.tokens_per_second) == (False, None, None)


def test_a_job_that_was_killed_is_seen(begun: TinyCampaign) -> None:
    watch = Watch(begun.plan)
    with holding(begun.folder("main").root) as job:
        assert watch.look()[0].state == "in progress"
        job.kill()
        job.wait()
        watch._owners.clear()  # as fifteen seconds later
        assert watch.look()[0].state == "interrupted at 10 of 14"


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(begun: TinyCampaign) -> None:
    watch = Watch(begun.plan)
    watch.look()
    plan = begun.plan.read_text()
    begun.folder("main").events.write_bytes(b'{"event": "started"}\n\xff\x00{torn')
    begun.plan.write_text("campaign: [half")
    main, *_ = watch.look()
    assert main.state == "interrupted at 10 of 14"
    assert watch.trouble is not None
    assert watch.trouble.startswith("the plan as it was is shown: ")
    begun.plan.write_text(plan)
    watch.look()
    assert watch.trouble is None


def test_lines_come_once_where_nothing_changes_and_end_with_the_campaign(begun: TinyCampaign, lrps: Lrps) -> None:
    for path, iteration in (("main", 14), ("v2", 20)):
        begun.save(path, iteration)
    code, stdout, stderr = lrps("status", begun.plan, "--watch")
    assert (code, stderr) == (0, "")
    lines = [line.partition(" ")[2] for line in stdout.splitlines()]
    assert lines[0] == "main: trained, iteration 14/14, loss 4.0000, next lr 2.000e-03, grad norm 0.250"
    assert lines[1].startswith("main: alert at iteration 11: loss_spike: up (")
    assert lines[2:] == ["v1: trained, iteration 10/10", "v2: trained, iteration 20/20"]


def test_jobs_are_shown_where_the_campaign_has_any(
    begun: TinyCampaign, lrps: Lrps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # no Slurm to ask
    for path, iteration in (("main", 14), ("v2", 20)):
        begun.save(path, iteration)
    record(begun.campaign.folder, "submitted", job="17", name="demo-v2", path="v2", until=20)
    stdout = lrps("status", begun.plan, "--watch").stdout
    assert "v2: trained, iteration 20/20, job 17 until 20: unknown to Slurm\n" in stdout


def test_watching_takes_no_json(begun: TinyCampaign, lrps: Lrps) -> None:
    code, _, stderr = lrps("status", begun.plan, "--watch", "--json")
    assert code == 78
    assert "--json prints one object" in stderr


def shown(rows: list[LiveStanding], *, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    watch = cast(Watch, SimpleNamespace(trouble=None))
    lines = console.render_lines(watching._screen(watch, rows, None, console), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def row(name: str, *, state: str = "in_progress", alerts: Sequence[str] = ()) -> LiveStanding:
    path = cast(
        PlannedPath, SimpleNamespace(name=name, begins_after=(("main", 9_000),), fork=9_000, end=10_000, mean=())
    )
    told = [{"iteration": 9, "message": text, "kind": None, "time": "now"} for text in alerts]
    standing = Standing(path=path, state=state, why=None, saved=None, ready=True, torn=(), last_event=None, alerts=told)
    figures = Figures(iteration=9_000, loss=2.5, next_lr=3e-4, grad_norm=0.25, logged_at=0.0, seconds=1.0)
    return LiveStanding(path=path, standing=standing, figures=figures, age=5.0, seconds_left=1000.0)


# "waiting for main at 9,000" has 25 characters and "9,000/10,000" 12; two stand between columns.
@pytest.mark.parametrize(
    ("width", "name", "columns"),
    [
        (140, "branch", "path state iteration loss next-lr grad-norm tokens/s left logged alerts"),
        (80, "branch", "path state iteration loss left alerts"),
        (60, "branch", "path state iteration loss"),
        (60, "a-branch-of-a-long-name", "path state iteration"),
    ],
)
def test_a_narrow_terminal_keeps_the_state(width: int, name: str, columns: str) -> None:
    rows = [row("main"), row(name, state="waiting")]
    header, main, branch, *_ = shown(rows, width=width, height=24)
    assert header.replace("next lr", "next-lr").replace("grad norm", "grad-norm").split() == columns.split()
    assert "in progress" in main
    assert branch.split()[0] == (name if name == "branch" else "a-branch-of-a-long…")  # 19 characters: 60 - 41
    assert "waiting for main at 9,000  9,000/10,000" in branch
    assert max(map(len, (header, main, branch))) <= width


def test_wrapped_alerts_leave_the_table_its_room() -> None:
    # 95 characters are two lines of 80. Of 12 lines six may be alerts, one is the end, and one the cursor's.
    rows = [row(f"p{number}", alerts=["12345678 " * 7]) for number in range(1, 9)]
    lines = shown(rows, width=80, height=12)
    assert len(lines) == 11
    assert [line.split()[0] for line in lines[:4]] == ["path", "p1", "p2", "p3"]
    assert [line[:3] for line in lines[4:10:2]] == ["p6:", "p7:", "p8:"]
    assert lines[10].startswith("5 paths more; 8,000 iterations left; ")


def test_of_too_many_paths_those_that_train_are_shown() -> None:
    rows = [row(f"p{number}", state="in_progress" if number == 7 else "trained") for number in range(1, 9)]
    lines = shown(rows, width=80, height=6)  # room for three
    assert [line.split()[0] for line in lines[:4]] == ["path", "p1", "p2", "p7"]
    assert lines[4].startswith("5 paths more; ")


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_ends_the_view_with_0(begun: TinyCampaign, held: Ownership, log_job: LogJob, terminal: bool) -> None:
    command = [sys.executable, "-m", "megatron_lrps.cli", "status", str(begun.plan), "--watch", "--every", "0.2"]
    reader, writer = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "140", "LINES": "40"}
    )
    os.close(writer)
    shown = b""
    try:
        deadline = time.monotonic() + 300
        while b"12/14" not in shown and time.monotonic() < deadline:
            shown += os.read(reader, 65536)
        log_job(tensorboard(begun), figures(13, 13))
        while b"13/14" not in shown and time.monotonic() < deadline:
            shown += os.read(reader, 65536)
        process.send_signal(signal.SIGINT)
        # A terminal that nobody reads would hold the last picture up.
        while process.poll() is None and time.monotonic() < deadline:
            try:
                os.read(reader, 65536)
            except OSError:
                break
        _, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        os.close(reader)
    assert (process.returncode, stderr) == (0, b"")
    assert b"13/14" in shown
    assert b"loss_spike: up" in shown
    assert (b"\x1b[" in shown) == terminal
