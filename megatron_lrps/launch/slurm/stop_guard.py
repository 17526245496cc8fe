"""Watches whether the ranks of a Slurm job, asked to save and stop, do so; from its first node, beside them.

``python -m megatron_lrps.launch.slurm.stop_guard PLAN PATH`` is started by the job's script once it has asked them, and
ended by it once they have stopped. Ranks that hang are killed, for which the script requeues the job. At its time limit
Slurm would end it for good. With ``--on-request`` it is started with the ranks, and watches once ``lrps stop`` has
asked them; a job whose ranks are killed then is not requeued. It also ends a step that outlives its rank 0.
"""

import sys
import time

from megatron_lrps.campaign.activity import Doing, doing_of
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.path_request import OverdueEnd, record_overdue_end
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.campaign.stop_deadline import RequestDeadline, StopDeadline, seconds_to_stop
from megatron_lrps.launch.slurm.guard import guard, say
from megatron_lrps.launch.slurm.job_steps import kill_steps, seconds_left
from megatron_lrps.storage.ownership import holder

_LOOK_S = 1.0
_LOOK_FOR_REQUEST_S = 5.0
_ALONE_S = 60.0
"""The seconds that a step has to end after its rank 0: srun waits for ever for a rank that hangs when it leaves."""
_REQUEUE_S = 30.0
"""The seconds before the time limit that the script gets to requeue the job, or a fifth of what is left."""


def main(arguments: list[str]) -> int:
    """Watch; the arguments are those above. Returns once the ranks are killed, or if the plan cannot be read."""
    plan, name, *on_request = arguments
    return guard(plan, name, _await_request if on_request else _await_stop, "nobody watches whether the ranks stop")


def _await_stop(campaign: Campaign, name: str) -> None:
    """Watch ranks that have been asked, until their time is over."""
    folder = campaign.folder.path(campaign.path(name).name)
    seconds = seconds_to_stop(_given(campaign), events(folder))
    deadline, left = StopDeadline(seconds, time.monotonic()), seconds_left()
    end = None if left is None else time.monotonic() + left - min(_REQUEUE_S, left / 5)
    while True:
        time.sleep(_LOOK_S)
        doing, now = doing_of(folder, holder(folder.root)), time.monotonic()
        if deadline.is_over((doing and doing.iteration) or 0, doing, now):
            why = f"have made no progress for {seconds:g} s since they were asked to save and stop"
        elif end is not None and now > end:
            why = "have not stopped, and the job's time is nearly over"
        else:
            continue
        _kill(campaign, name, why, doing)
        return


def _await_request(campaign: Campaign, name: str) -> None:
    """Watch ranks that ``lrps stop`` may ask at any time, and that may outlive rank 0."""
    folder = campaign.folder.path(campaign.path(name).name)
    by_file = RequestDeadline(folder, _given(campaign))
    before = len(events(folder))
    held: float | None = None
    while True:
        time.sleep(_LOOK_FOR_REQUEST_S)
        now = time.monotonic()
        if holder(folder.root) is not None:
            held = now
        elif held is None:
            held = now if len(events(folder)) > before else None  # held for less time than between two looks
        elif now - held > _ALONE_S:
            say(f"{name}: rank 0 has ended, and {_ALONE_S:g} s later its step has not: what is left of it is killed")
            kill_steps()
            return
        if (deadline := by_file.look(now)) is None or by_file.request is None:
            continue
        doing = doing_of(folder, holder(folder.root))
        reached = (doing and doing.iteration) or 0
        if deadline.is_over(reached, doing, now):
            saved = standing_of(campaign, campaign.path(name)).position
            end = OverdueEnd(iteration=max(reached, saved), saved=saved, seconds=deadline.seconds)
            record_overdue_end(folder, by_file.request, end)
            why = f"have made no progress for {deadline.seconds:g} s since lrps stop asked them to save and stop"
            _kill(campaign, name, why, doing)
            return


def _given(campaign: Campaign) -> float | None:
    slurm = campaign.plan.launch.slurm
    return None if slurm is None else slurm.stop_timeout


def _kill(campaign: Campaign, name: str, why: str, doing: Doing | None) -> None:
    say(f"{name}: its ranks {why}; they are killed, and {_lost(campaign, name, doing.iteration if doing else None)}")
    kill_steps()


def _lost(campaign: Campaign, name: str, reached: int | None) -> str:
    saved = standing_of(campaign, campaign.path(name)).position
    if reached is None:
        return f"what they trained after iteration {saved} is lost"
    if reached <= saved:
        return "nothing is lost"
    return f"the {reached - saved} iterations after iteration {saved} are lost"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
