"""``lrps status --watch``: every path's figures as they come, on a terminal or as lines."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from megatron_lrps.cli.printing import job_text
from megatron_lrps.launch.executor import jobs_of
from megatron_lrps.launch.local.progress_display import duration
from megatron_lrps.monitor.live_standing import LiveStanding, Watch
from megatron_lrps.monitor.text_table import number_words
from megatron_lrps.wording import counted

JOBS_EVERY_S = 30.0
"""The fewest seconds between queries of Slurm."""
ALERTS_SHOWN = 5
_NUMBERS = ("iteration", "loss", "next lr", "grad norm", "tokens/s", "left", "logged")
_DROPPED = ("next lr", "grad norm", "logged", "tokens/s", "left", "job", "alerts", "loss")
"""Columns that a narrow terminal drops, in this order; path, state and iteration stay."""
_GAP = 2
_SHORTEST_NAME = 8

Jobs = Mapping[str, Sequence[dict[str, Any]]] | None


def watch_status(plan_file: Path, *, every: float) -> None:
    """Show a campaign until it is trained, or Ctrl-C.

    Args:
        plan_file: The plan.
        every: Seconds between looks.

    Raises:
        PlanError: if the plan is not one.
    """
    watch = Watch(plan_file)
    looks = _looks(watch, every)
    try:
        if sys.stdout.isatty():
            console = Console()
            # Not the alternate screen: what was seen last stays when it ends.
            with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                for rows, jobs in looks:
                    live.update(_screen(watch, rows, jobs, console), refresh=True)
        else:
            before: Sequence[str] = ()
            for rows, jobs in looks:
                lines = list(_lines(watch, rows, jobs))
                for line in lines:
                    if line not in before:
                        print(f"{datetime.now():%H:%M:%S} {line}", flush=True)
                before = lines
    except KeyboardInterrupt:
        return


def _looks(watch: Watch, every: float) -> Iterator[tuple[list[LiveStanding], Jobs]]:
    asked, jobs = -JOBS_EVERY_S, None
    while True:
        rows = watch.look()
        if time.monotonic() - asked >= JOBS_EVERY_S:
            asked, jobs = time.monotonic(), jobs_of(watch.campaign.folder)
        yield rows, jobs
        if all(row.done and not row.held for row in rows):
            return
        time.sleep(every)


def _cells(row: LiveStanding) -> dict[str, str]:
    figures = row.figures
    cells = dict.fromkeys(_NUMBERS, "-")
    cells["iteration"] = f"{f'{row.iteration:,}' if row.begun else '-'}/{row.path.end:,}"
    if figures is not None:
        cells["loss"] = number_words(figures.loss, 4)
        cells["next lr"] = "-" if figures.next_lr is None else f"{figures.next_lr:.3e}"
        cells["grad norm"] = "-" if figures.grad_norm is None else number_words(figures.grad_norm, 3)
    if row.tokens_per_second is not None:
        cells["tokens/s"] = number_words(row.tokens_per_second, 0)
    if row.seconds_left is not None:
        cells["left"] = duration(row.seconds_left)
    if row.age is not None and not row.done:
        cells["logged"] = f"{duration(row.age)} ago"
    return cells


def _screen(watch: Watch, rows: Sequence[LiveStanding], jobs: Jobs, console: Console) -> Group:
    left = sum(max(0, row.path.end - row.iteration) for row in rows)
    last = f"{counted(left, 'iteration')} left; {datetime.now():%H:%M:%S}, Ctrl-C ends this view"
    ending = f"{len(rows)} paths more; {last}"
    below = _below(watch, rows)
    # The latest say most, and the table must not be pushed off the screen by them.
    while below and _height(below, console) > console.height // 2:
        below = below[1:]
    room = max(1, console.height - _height([*below, ending], console) - 2)  # the header, and the cursor's line
    # Paths in training are kept first; rows stay in the plan's order.
    kept = sorted(range(len(rows)), key=lambda at: rows[at].figures is None or rows[at].done)[:room]
    shown = [rows[at] for at in sorted(kept)]
    hidden = len(rows) - len(shown)
    ending = f"{hidden} paths more; {last}" if hidden else last
    return Group(_table(shown, jobs, console.width), *(Text(line) for line in (*below, ending)))


def _height(lines: Sequence[str], console: Console) -> int:
    return sum(max(1, len(Text(line).wrap(console, console.width))) for line in lines)


def _table(rows: Sequence[LiveStanding], jobs: Jobs, width: int) -> Table:
    columns = {"path": [row.path.name for row in rows], "state": [row.state for row in rows]}
    cells = [_cells(row) for row in rows]
    columns |= {name: [each[name] for each in cells] for name in _NUMBERS}
    if jobs is not None:
        columns["job"] = [job_text(jobs.get(row.path.name, [])) for row in rows]
    columns["alerts"] = [str(len(row.alerts) or "-") for row in rows]
    widths = {name: max(map(cell_len, (name, *column))) for name, column in columns.items()}
    for name in _DROPPED:
        if sum(widths.values()) + _GAP * (len(widths) - 1) > width:
            widths.pop(name, None)
    over = sum(widths.values()) + _GAP * (len(widths) - 1) - width
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in widths:
        longest = max(_SHORTEST_NAME, widths[name] - max(0, over)) if name == "path" else None
        words = name in ("path", "state", "job")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, max_width=longest)
    for number in range(len(rows)):
        table.add_row(*(Text(columns[name][number]) for name in widths))
    return table


def _below(watch: Watch, rows: Sequence[LiveStanding]) -> list[str]:
    alerts = [alert for row in rows for alert in row.alerts]
    troubles = [row.trouble for row in rows if row.trouble]
    stalls = [f"{row.path.name}: stalled: {row.stall}" for row in rows if row.stall]
    return [*alerts[-ALERTS_SHOWN:], *stalls, *([watch.trouble] if watch.trouble else []), *troubles]


def _lines(watch: Watch, rows: Sequence[LiveStanding], jobs: Jobs) -> Iterator[str]:
    """Yield a line on each path, without ages, which would make every look news."""
    for row in rows:
        cells = _cells(row)
        parts = [f"{row.path.name}: {row.state}", f"iteration {cells['iteration']}"]
        parts += [f"{name} {cells[name]}" for name in ("loss", "next lr", "grad norm") if cells[name] != "-"]
        parts += [f"{cells['tokens/s']} tokens/s"] if cells["tokens/s"] != "-" else []
        parts += [f"{cells['left']} left"] if cells["left"] != "-" else []
        parts += [f"job {job_text(jobs[row.path.name])}"] if jobs and jobs.get(row.path.name) else []
        yield ", ".join(parts)
        yield from row.alerts
        if row.trouble:
            yield row.trouble
    if watch.trouble:
        yield watch.trouble
