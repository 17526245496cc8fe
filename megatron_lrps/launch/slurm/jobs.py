"""``<save>/slurm/jobs.jsonl``: which jobs a campaign has been given, append-only; what they do is Slurm's to say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from megatron_lrps.launch.slurm.client import JobState, job_states
from megatron_lrps.versions.files import append_line, read_lines
from megatron_lrps.versions.folder import CampaignFolder

type Key = tuple[str, int]
"""A path's name, and the iteration that a job trains it until; or ``PROMOTION``."""
PROMOTION = 0
"""Stands in a key for a job that promotes the path's end."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that was submitted.

    Attributes:
        id: Slurm's.
        name: Its job name.
        path: What it trains.
        until: The iteration that it stops after; None for a promotion.
        released: It was released after its submission.
    """

    id: str
    name: str
    path: str
    until: int | None
    released: bool

    @property
    def key(self) -> Key:
        """What it is to train, or to promote."""
        return self.path, PROMOTION if self.until is None else self.until

    def __str__(self) -> str:
        return f"promotion of {self.path}" if self.until is None else f"{self.path} until {self.until}"


def jobs_file(campaign: CampaignFolder) -> Path:
    """Where a campaign's jobs are recorded."""
    return campaign.root / "slurm" / "jobs.jsonl"


def record(campaign: CampaignFolder, event: str, **fields: Any) -> None:
    """Append ``submitted``, ``released`` or ``cancelled``; raises StorageError."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **fields}
    append_line(jobs_file(campaign), line)


def recorded(campaign: CampaignFolder) -> list[Job]:
    """All jobs, oldest first; lines that ``record`` would not write are left out."""
    lines = read_lines(jobs_file(campaign))
    released = {str(each) for line in lines if line.get("event") == "released" for each in _list(line.get("jobs"))}
    return [
        Job(
            id=line["job"],
            name=line["name"],
            path=line["path"],
            until=line.get("until"),
            released=line["job"] in released,
        )
        for line in lines
        if line.get("event") == "submitted"
        and all(isinstance(line.get(key), str) for key in ("job", "name", "path"))
        and line["job"].isdigit()
        and (type(line.get("until")) is int or (line.get("until") is None and line.get("promotes") is True))
    ]


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def with_states(jobs: Sequence[Job]) -> list[tuple[Job, JobState | None]]:
    """Each job with what Slurm says of it; None where it has forgotten it. Raises RefusedError."""
    states = job_states(job.id for job in jobs)
    found = [(job, states.get(job.id)) for job in jobs]
    return [(job, state if state and state.name == job.name else None) for job, state in found]


def active(campaign: CampaignFolder) -> dict[Key, tuple[Job, JobState]]:
    """The campaign's jobs that wait or run, by what they do; raises RefusedError where Slurm cannot be asked."""
    found = with_states(recorded(campaign))
    return {job.key: (job, state) for job, state in found if state is not None and state.active}
