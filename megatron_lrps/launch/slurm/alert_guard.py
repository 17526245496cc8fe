"""Watches over the ranks of a Slurm job from its first node, beside them: ``alerts.stall``, ``alerts.straggler``.

``python -m megatron_lrps.launch.slurm.alert_guard PLAN PATH`` runs until it is ended. On a stall all ranks print
their stacks to the job's log, and if the plan says so the step is killed, for which the script requeues the job.
"""

import sys
import time

from megatron_lrps.campaign.activity import Doing, doing_of
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.outside_alert import raise_alert
from megatron_lrps.campaign.pace import pace_of
from megatron_lrps.campaign.stall import KIND, StallJudge
from megatron_lrps.campaign.straggler import KIND as STRAGGLER
from megatron_lrps.campaign.straggler import StragglerJudge
from megatron_lrps.launch.slurm.guard import guard, say
from megatron_lrps.launch.slurm.job_steps import kill_steps, signal_steps
from megatron_lrps.processes import STACKS_SIGNAL
from megatron_lrps.storage.ownership import holder

_LOOK_S = 15.0
_STACKS_S = 10.0
"""The seconds that the ranks get to print their stacks before they are killed."""


def main(arguments: list[str]) -> int:
    """Watch; the arguments are those above. Returns only if the plan cannot be read."""
    plan, name = arguments
    return guard(plan, name, _watch, "stalls are not judged")


def _watch(campaign: Campaign, name: str) -> None:
    folder, rules = campaign.folder.path(campaign.path(name).name), campaign.plan.alerts
    stalls, stragglers = StallJudge(rules), StragglerJudge(rules)
    starting: Doing | None = Doing(what="starting", at=time.time())
    while True:
        time.sleep(min(_LOOK_S, rules.stall_least / 4))
        owner = holder(folder.root)
        if (doing := doing_of(folder, owner)) is not None:
            starting = None
        for found in stragglers.look(pace_of(folder, owner), time.monotonic()):
            message, iteration = f"{STRAGGLER}: {found}", (doing.iteration if doing else None) or 0
            say(f"{name}: {message}")
            raise_alert(campaign, name, STRAGGLER, message, say, iteration=iteration, values=found.values)
        if (stall := stalls.look(doing or starting, time.monotonic())) is None:
            continue
        message = f"{KIND}: {stall}"
        say(f"{name}: {message}. The stacks of its ranks follow")
        signal_steps(STACKS_SIGNAL.name)
        raise_alert(campaign, name, KIND, message, say, iteration=stall.iteration, values=stall.values)
        if rules.stall_ends:
            time.sleep(_STACKS_S)
            say(f"{name}: its ranks are killed, because alerts.stall_ends is set")
            kill_steps()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
