"""A campaign's Slurm jobs, as the commands show them."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import RefusedError

if TYPE_CHECKING:
    from megatron_lrps.launch.slurm.job_history import Job


def jobs_of(campaign: CampaignFolder) -> dict[str, list[dict[str, Any]]] | None:
    """Path -> its jobs, the latest of each part, as ``lrps status --json`` gives them.

    ``state`` and ``reason`` are null if Slurm has forgotten the job or cannot be asked. None: the campaign has never
    been submitted.
    """
    if not (campaign.root / "slurm" / "jobs.jsonl").exists():
        return None
    from megatron_lrps.launch.slurm.job_history import recorded, with_states  # subprocess is no use to other campaigns

    jobs = recorded(campaign)
    latest = list({job.key: job for job in jobs}.values())
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


def job_text(jobs: list[dict[str, Any]]) -> str:
    """The first job that runs or waits, else the last one that ended."""
    active = [job for job in jobs if job["active"]]
    if not jobs:
        return "-"
    job = active[0] if active else jobs[-1]
    reason = f" ({job['reason']})" if job["reason"] else ""
    more = f", {len(active) - 1} more" if len(active) > 1 else ""
    does = "promotes" if job["until"] is None else f"until {job['until']}"
    return f"{job['id']} {does}: {job['state'] or 'unknown to Slurm'}{reason}{more}"


def job_names(jobs: Iterable["Job"]) -> str:
    """The jobs by number, with what each of them does."""
    return ", ".join(f"{job.id} ({job})" for job in jobs)
