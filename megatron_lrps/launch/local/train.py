"""Training a campaign's paths on this machine, one after another.

Parents train before their children: main trains to its end first and saves every fork point on the way, then each
branch trains. To train a branch as soon as its fork point exists would give the first version earlier, but main would
be stopped and started once per version; ``--path v1`` does that for people who want it.

The ranks report how they ended in events.jsonl, because torchrun turns every exit code into 1. Whether a path is
trained is read from its checkpoints alone.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from megatron_lrps.campaign.activity import EXECUTOR, Doing, doing_of
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.path_request import OverdueEnd, record_overdue_end
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.campaign.stop_deadline import RequestDeadline, StopDeadline, seconds_to_stop
from megatron_lrps.errors import RefusedError, StoppedError, StorageError
from megatron_lrps.launch.ft_launcher import launcher
from megatron_lrps.launch.local.outcome import Attempt, conclude
from megatron_lrps.launch.local.progress_display import Display, silence
from megatron_lrps.launch.local.rank_output import LogFollower
from megatron_lrps.launch.local.rank_watch import RankWatch
from megatron_lrps.launch.local.ranks import RankGroup, writers
from megatron_lrps.launch.untrained import start_of
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.cpu_flags import CPU_ENV
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.storage.files import try_lock
from megatron_lrps.storage.ownership import holder
from megatron_lrps.training.failure_word import FILE as FAILURE

MERGE_MODULE = "megatron_lrps.launch.merge_job"
"""The module that makes a version out of checkpoints; it takes the same flags as one that trains."""
_POLL_S = 0.2
_LEFTOVER_S = 10.0


class StopSignals:
    """Counts Ctrl-C, SIGTERM and hang-ups: the first asks the ranks to save and stop, the second kills them."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count these signals instead of ending on them."""
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        # Signals that are ignored, by nohup or in a shell's background, stay ignored.
        before = {number: old for number in numbers if (old := signal.getsignal(number)) != signal.SIG_IGN}
        for number in before:
            signal.signal(number, self._received)
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            silence()
        self.count += 1


def train(campaign: Campaign, paths: list[PlannedPath], display: Display, *, module: str) -> None:
    """Train paths to their ends, one after another.

    Args:
        campaign: A campaign whose plan has been accepted.
        paths: Its paths to train, parents first.
        display: Shows the progress.
        module: The module that the ranks run.

    Raises:
        StoppedError: stopped on request or by a time limit; it names the iteration to continue from.
        RefusedError: the ranks or this executor refused a path.
        StorageError: a checkpoint or a log could not be written.
        LrpsError: a path failed; its last lines have been shown.
    """
    stop = StopSignals()
    with stop.listening(), display:
        for path in paths:
            if stop.count:
                raise StoppedError(f"Stopped before path {path.name}.", "run the same command to continue.")
            _train_path(campaign, path, display, stop, module)


def _train_path(campaign: Campaign, path: PlannedPath, display: Display, stop: StopSignals, module: str) -> None:
    folder = campaign.folder.path(path.name)
    with _one_executor(folder, path.name):
        # Checked here because another executor may have trained it while this one trained the paths before it.
        if standing_of(campaign, path).done:
            display.finish(path.name)
            return
        exit_signal = signal.Signals[str(path_flags(campaign.tree, path)["exit-signal"])]
        start = start_of(campaign, path)
        for iteration, why in start.skipped.items():
            display.say(f"{path.name}: checkpoint {iteration} is left alone, {start.name} is used: {why}")
        cpu = campaign.plan.launch.device == "cpu"
        # The ranks read the accepted copy: an edit of the plan while this runs waits for the next `lrps run`.
        arguments = ["--lrps-plan", str(campaign.folder.plan.resolve()), "--lrps-path", path.name]
        seen = len(events(folder))
        display.start(path.name, start.iteration)
        # In memory, because the campaign's disk may be full when a rank has something to say.
        with os.fdopen(os.memfd_create("lrps-failure")) as memory:
            word = Path(f"/proc/{os.getpid()}/fd/{memory.fileno()}")
            group = RankGroup(
                launcher(campaign.plan, 1 if path.mean else campaign.plan.launch.local.processes),
                MERGE_MODULE if path.mean else module,
                [*arguments, "--lrps-cpu"] if cpu else arguments,
                env={**(CPU_ENV if cpu else {}), FAILURE: str(word)},
                logs=folder.logs,
            )
            attempt = Attempt(campaign=campaign, path=path, log=group.log, word=word, start=start.iteration)
            try:
                _follow(group, attempt, display, stop, exit_signal)
            except OSError as error:
                raise StorageError(
                    f"path {path.name} was ended at iteration {attempt.reached}, because {group.log} can no longer be "
                    f"read: {error.strerror}.",
                    f"see whether the file system of {campaign.folder.root} is mounted, then run the same command to "
                    "continue from the last checkpoint.",
                ) from None
            finally:
                group.kill()
            conclude(attempt, events(folder)[seen:], display)


def _follow(
    group: RankGroup, attempt: Attempt, display: Display, stop: StopSignals, exit_signal: signal.Signals
) -> None:
    """Show the progress and pass on requests to stop, until torchrun has ended."""
    log = LogFollower(group.log)
    name = attempt.path.name
    folder = attempt.campaign.folder.path(name)
    begun = time.time()
    # Ranks say nothing before they hold their path, and a merge never does.
    doing: Doing | None = Doing(what="starting", since=begun, at=None if attempt.path.mean else begun)
    running, held, by_signal = True, False, None
    given = attempt.campaign.plan.launch.local.stop_timeout
    by_file = RequestDeadline(folder, given)
    watch = RankWatch(attempt, group, display)
    while running:
        running = group.running  # checked before the log is read, so that no last lines are missed
        for step in log.steps():
            attempt.reached, doing = max(attempt.reached, step.iteration), None
            display.step(name, step)
        owner = holder(folder.root) if running else None
        if running and (owner is not None or held):
            held, doing = True, doing_of(folder, owner)
            if owner is None and watch.left_alone():
                display.say(f"{name}: its ranks have ended, and what started them has not: it is killed")
                group.kill()
        if doing is not None and doing.what != "training":
            display.tell(name, doing)
        if running and (stalled := watch.look(doing)) is not None:
            attempt.stalled = stalled
            group.kill()
        if stop.count and not attempt.asked:
            attempt.asked = exit_signal
            if group.signal_ranks(exit_signal) == 0:  # torchrun is still starting them: there is nothing to save
                group.kill()
            by_signal = StopDeadline(seconds_to_stop(given, events(folder)), time.monotonic())
            when = "save after the iteration they are at"
            if doing is not None and doing.what == "evaluating":
                when = f"are {doing}, and save then"
            display.say(
                f"{name}: stopping; its ranks {when}. To kill them instead, ask again: "
                f"what they trained after iteration {attempt.saved()} is lost then"
            )
        elif stop.count > 1 and not attempt.killed:
            attempt.killed = True
            group.kill()
        elif running:
            now = time.monotonic()
            deadlines = [each for each in (by_signal, by_file.look(now)) if each is not None]
            if (
                over := next((each for each in deadlines if each.is_over(attempt.reached, doing, now)), None)
            ) is not None:
                _end_overdue(group, attempt, display, over.seconds, by_file)
        if running:
            time.sleep(_POLL_S)


def _end_overdue(
    group: RankGroup, attempt: Attempt, display: Display, seconds: float, by_file: RequestDeadline
) -> None:
    """Kill ranks that have not stopped in time; whoever asked by a file reads in the history what is lost."""
    attempt.overdue = seconds
    name = attempt.path.name
    display.say(
        f"{name}: its ranks have made no progress for {seconds:g} s since they were asked to save and stop; they are "
        "killed"
    )
    if by_file.request is not None:
        end = OverdueEnd(iteration=attempt.reached, saved=attempt.saved(), seconds=seconds)
        record_overdue_end(attempt.campaign.folder.path(name), by_file.request, end)
    group.kill()


@contextlib.contextmanager
def _one_executor(folder: PathFolder, name: str) -> Iterator[None]:
    """Hold a path for this executor; raises RefusedError if another process holds it."""
    try:
        folder.logs.mkdir(parents=True, exist_ok=True)
        lock = (folder.logs / EXECUTOR).open("a+")
    except OSError as error:
        raise StorageError(f"{folder.logs} could not be written: {error.strerror}.", "make room, then rerun.") from None
    with lock:
        if not try_lock(lock):
            lock.seek(0)
            writer = lock.read().strip() or "another process"
            raise RefusedError(
                f"path {name} is being written by {writer}; a path has one writer.",
                "wait for it, or stop it (Ctrl-C there saves first).",
            )
        # On a file system without locks only this protects the path.
        _refuse_leftovers(folder, name)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield


def _refuse_leftovers(folder: PathFolder, name: str) -> None:
    """Refuse a path that an earlier executor's processes still train, after giving them a moment to end."""
    deadline = time.monotonic() + _LEFTOVER_S
    while left := writers(folder.logs.glob("*.log")):
        if time.monotonic() > deadline:
            raise RefusedError(
                f"path {name} is still written by process {', '.join(map(str, left))}; a path has one writer.",
                f"see what it is (ps -fp {left[0]}) and end it, then rerun.",
            )
        time.sleep(_POLL_S)
