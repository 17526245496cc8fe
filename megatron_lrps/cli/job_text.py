"""A path's jobs in one line, for ``lrps status``."""

from typing import Any


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
