"""``lrps save``: asks the jobs that train a campaign to save."""

from megatron_lrps.cli.options import PlanArgument
from megatron_lrps.cli.path_requests import AskedPath, PatienceOption, ask_jobs


def save(plan: PlanArgument, path: AskedPath = None, wait: PatienceOption = None) -> None:
    """Let what is being trained save now and go on.

    It saves at its next iteration. This works from any machine that sees the campaign's folder, on what lrps run or
    Slurm trains.
    """
    ask_jobs(plan, path, "save", wait)
