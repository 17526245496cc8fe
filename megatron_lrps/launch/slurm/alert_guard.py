"""Watches over the ranks of a Slurm job from its first node, beside them: ``alerts.stall``, ``alerts.straggler``.

``python -m megatron_lrps.launch.slurm.alert_guard PLAN PATH`` runs until it is ended. On a stall all ranks print
their stacks to the job's log, and if the plan says so the step is killed, for which the script requeues the job.
"""

import sys
import time

from megatron_lrps.campaign.activity import Doing, doing_of
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.launch.alert_watch import AlertWatch
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
    alerts = AlertWatch(campaign, name, say)
    # Ranks say nothing before they hold their path.
    starting: Doing | None = Doing(what="starting", at=time.time())
    while True:
        time.sleep(min(_LOOK_S, rules.stall_least / 4))
        if (doing := doing_of(folder, holder(folder.root))) is not None:
            starting = None
        alerts.look_for_stragglers((doing.iteration if doing else None) or 0)
        if alerts.look_for_a_stall(doing or starting, lambda: "", "follow") is None:
            continue
        signal_steps(STACKS_SIGNAL.name)
        if rules.stall_ends:
            time.sleep(_STACKS_S)
            say(f"{name}: its ranks are killed, because alerts.stall_ends is set")
            kill_steps()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
