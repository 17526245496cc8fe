"""``lrps stop``: asks the jobs that train a campaign to save and stop."""

from megatron_lrps.cli.options import PlanArgument
from megatron_lrps.cli.path_requests import AskedPath, PatienceOption, ask_jobs


def stop(plan: PlanArgument, path: AskedPath = None, wait: PatienceOption = None) -> None:
    """Let what is being trained save now and stop.

    It saves at its next iteration. This works from any machine that sees the campaign's folder, on what lrps run or
    Slurm trains; a Slurm job is not requeued. lrps run or lrps submit continues.
    """
    ask_jobs(plan, path, "stop", wait)
