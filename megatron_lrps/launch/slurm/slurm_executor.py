"""`lrps submit`: a campaign trains as dependent Slurm jobs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from megatron_lrps.campaign.accepted_plan import accept, refuse_contradiction
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.data.tokenizer_size import vocabulary_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.layout_check import check_before_submit
from megatron_lrps.launch.preflight import nothing_to_do, refuse_missing_files, refuse_unfit, refuse_wrong_flags
from megatron_lrps.launch.untrained import paths_to_train
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan.cost import model_size
from megatron_lrps.plan.parallel_layout import ranks_of
from megatron_lrps.plan.save_memory import refuse_small_memory

if TYPE_CHECKING:
    from megatron_lrps.launch.slurm.job_history import Job
    from megatron_lrps.launch.slurm.job_requests import JobRequest

_ALL_HAVE_JOBS = "All that is missing has a job already; lrps status shows them."


@dataclass(frozen=True, kw_only=True)
class SlurmExecutor:
    """Submits a job for each untrained leg that has no job yet.

    Attributes:
        check: Whether to ask Megatron first if it can train the plan, if this machine has it.
    """

    check: bool = True

    def start(self, campaign: Campaign, only: str | None, say: Callable[[str], None]) -> int:
        """Submit all missing legs that have no job yet; returns the number of new jobs."""
        from megatron_lrps.launch.slurm import slurm_commands
        from megatron_lrps.launch.slurm.job_requests import slurm_of
        from megatron_lrps.launch.slurm.submission import submit

        jobs = _requests(campaign, only)
        if jobs is None:
            say(nothing_to_do(campaign, only))
            return 0
        slurm = slurm_of(campaign.plan)
        if slurm.container and slurm.container_runtime == "pyxis":
            slurm_commands.refuse_missing_pyxis()
        if jobs:
            first = jobs[0]
            if note := slurm_commands.refuse_impossible(first.options, str(first.script), slurm.nodes, slurm.partition):
                say(note)
        if (
            self.check
            and any(not job.promotes and not job.leg.path.mean for job in jobs)
            and (note := check_before_submit(campaign))
        ):
            say(note)
        accept(campaign)
        submitted = submit(campaign, only, say)
        if not submitted:
            say(_ALL_HAVE_JOBS)
            return 0
        if old := [request.replaces for request, _, _ in submitted if request.replaces]:
            say(f"Cancelled, because they wait for jobs that failed: {_named(old)}.\n")
        rows = [(number, request.leg.path.name, _does(request), after or "-") for request, number, after in submitted]
        say(table(("job", "path", "does", "after"), rows))
        return len(submitted)

    def dry_run(self, campaign: Campaign, only: str | None) -> str:
        """Return what ``start`` would do, as a shell script; the plan is not accepted.

        Raises:
            RefusedError: the jobs would be refused.
        """
        from megatron_lrps.launch.slurm.submission import as_shell

        jobs = _requests(campaign, only)
        if jobs is None:
            return nothing_to_do(campaign, only)
        return as_shell(jobs) if jobs else _ALL_HAVE_JOBS

    def jobs(self, folder: CampaignFolder) -> dict[str, list[dict[str, Any]]] | None:
        """Return each leg's latest job, by path, as ``lrps status --json`` prints them; None without ``jobs.jsonl``.

        ``state`` and ``reason`` are null if Slurm has forgotten the job or cannot be asked.
        """
        if not (folder.root / "slurm" / "jobs.jsonl").exists():
            return None
        from megatron_lrps.launch.slurm.job_history import recorded, with_states

        latest = list({job.key: job for job in recorded(folder)}.values())
        try:
            found = with_states(latest)
        except RefusedError:
            found = [(job, None) for job in latest]
        facts: dict[str, list[dict[str, Any]]] = {}
        for job, state in sorted(found, key=lambda each: each[0].until or math.inf):
            facts.setdefault(job.path, []).append(
                {
                    "id": job.id,
                    "until": job.until,
                    "state": state and state.state,
                    "reason": state and state.reason,
                    "active": state is not None and state.active,
                }
            )
        return facts

    def cancel(self, campaign: Campaign, only: str | None, say: Callable[[str], None]) -> bool:
        """Cancel the jobs of a campaign, or of one path, and those that follow them; False if there are none.

        Raises:
            RefusedError: Slurm does not answer.
        """
        from megatron_lrps.launch.slurm import slurm_commands
        from megatron_lrps.launch.slurm.job_history import active, followers, record

        found = active(campaign.folder)
        jobs = [job for job, _ in found.values() if only in (None, job.path)]
        if not jobs:
            return False
        behind = followers(found, {job.id for job in jobs})
        numbers = [job.id for job in (*jobs, *behind)]
        slurm_commands.cancel(numbers)
        record(campaign.folder, "cancelled", jobs=numbers)
        say(f"Cancelled: {_named(jobs)}.")
        if behind:
            say(f"Cancelled too, because they follow them: {_named(behind)}.")
        say("lrps submit submits again what is missing.")
        return True


def _requests(campaign: Campaign, only: str | None) -> "list[JobRequest] | None":
    """Return the jobs to submit; None if nothing is missing. Raises RefusedError if they cannot train."""
    from megatron_lrps.launch.slurm.job_history import active
    from megatron_lrps.launch.slurm.job_requests import job_requests, refuse_missing_container, slurm_of, unreleased

    slurm_of(campaign.plan)
    refuse_wrong_flags(campaign, only)
    refuse_missing_container(campaign.plan)
    paths = [path for path in paths_to_train(campaign, None) if only in (None, path.name)]
    if not paths and not any(only in (None, path.name) for path in unreleased(campaign)):
        return None
    refuse_missing_files(campaign.plan)
    refuse_contradiction(campaign)
    refuse_unfit(campaign, paths, ranks_of(campaign.plan))
    refuse_small_memory(campaign.plan, model_size(campaign.plan, vocabulary_of(campaign.plan)))
    return job_requests(campaign, only, active(campaign.folder))


def _does(request: "JobRequest") -> str:
    return "promotion" if request.promotes else f"({request.leg.start}, {request.leg.until}]"


def _named(jobs: "list[Job]") -> str:
    return ", ".join(f"{job.id} ({job})" for job in jobs)
