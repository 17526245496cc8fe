"""A campaign's Slurm jobs, as `lrps status` shows them."""

import math
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import RefusedError


def jobs_of(campaign: CampaignFolder) -> dict[str, list[dict[str, Any]]] | None:
    """Path -> its Slurm jobs; None where the campaign has been given none."""
    if not (campaign.root / "slurm" / "jobs.jsonl").exists():
        return None
    return _facts(campaign)


def job_text(jobs: list[dict[str, Any]]) -> str:
    """The job that runs or waits, the first one of them; else the last that ended."""
    active = [job for job in jobs if job["active"]]
    if not jobs:
        return "-"
    job = active[0] if active else jobs[-1]
    reason = f" ({job['reason']})" if job["reason"] else ""
    more = f", {len(active) - 1} more" if len(active) > 1 else ""
    does = "promotes" if job["until"] is None else f"until {job['until']}"
    return f"{job['id']} {does}: {job['state'] or 'unknown to Slurm'}{reason}{more}"


def _facts(campaign: CampaignFolder) -> dict[str, list[dict[str, Any]]]:
    """Path -> its jobs, the latest of each part, as ``lrps status --json`` gives them.

    ``state`` and ``reason`` are null where Slurm has forgotten the job, or cannot be asked.
    """
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
