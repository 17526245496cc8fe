"""The submitted jobs of a campaign: ``<save>/slurm/jobs.jsonl``, append-only. Slurm has their present states."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.launch.slurm.slurm_commands import JobState, job_states
from megatron_lrps.storage.files import append_line, read_lines

type Key = tuple[str, int]
"""The name of a path, and the iteration that a job trains it until, or ``PROMOTION``."""
PROMOTION = 0
"""The iteration in the key of a job that promotes the end of the path."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that was submitted.

    Attributes:
        id: Slurm's number of the job.
        name: The name of the job.
        path: The path that it trains or promotes.
        until: The iteration that it stops after; None for a promotion.
        released: Whether it was released after its submission.
        cancelled: Whether lrps has cancelled it; Slurm may show it as waiting or running for some seconds more.
        after: The ids of the jobs that must succeed before it starts.
    """

    id: str
    name: str
    path: str
    until: int | None
    released: bool
    cancelled: bool = False
    after: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """The leg that it trains, or the path that it promotes."""
        return self.path, PROMOTION if self.until is None else self.until

    def __str__(self) -> str:
        return f"promotion of {self.path}" if self.until is None else f"{self.path} until {self.until}"


def jobs_file(folder: CampaignFolder) -> Path:
    """Return the file that records the jobs of a campaign."""
    return folder.root / "slurm" / "jobs.jsonl"


def record(folder: CampaignFolder, event: str, **fields: Any) -> None:
    """Append ``submitted``, ``released`` or ``cancelled``; raises StorageError."""
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **fields}
    append_line(jobs_file(folder), line)


def recorded(folder: CampaignFolder) -> list[Job]:
    """Read all jobs, oldest first; lines that ``record`` would not write are left out."""
    lines = read_lines(jobs_file(folder))
    released, cancelled = (
        {str(each) for line in lines if line.get("event") == event for each in _list(line.get("jobs"))}
        for event in ("released", "cancelled")
    )
    return [
        Job(
            id=line["job"],
            name=line["name"],
            path=line["path"],
            until=line.get("until"),
            released=line["job"] in released,
            cancelled=line["job"] in cancelled,
            after=tuple(line["after"].split(",")) if isinstance(line.get("after"), str) else (),
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
    """Return each job with its state, or None if Slurm has forgotten it. Raises RefusedError."""
    states = job_states(job.id for job in jobs)
    found = [(job, states.get(job.id)) for job in jobs]
    return [(job, state if state and state.name == job.name else None) for job, state in found]


def active(folder: CampaignFolder) -> dict[Key, tuple[Job, JobState]]:
    """Return the jobs of a campaign that wait or run; raises RefusedError if Slurm cannot be asked."""
    found = with_states(recorded(folder))
    hopeless: set[str] = set()
    for job, state in found:  # each job comes after those that it follows
        if state is None or not state.active or job.cancelled or _waits_in_vain(job, state, found, hopeless):
            hopeless.add(job.id)
    return {
        job.key: (job, replace(state, in_vain=job.id in hopeless))
        for job, state in found
        if state is not None and state.active and not job.cancelled
    }


def _waits_in_vain(job: Job, state: JobState, found: Sequence[tuple[Job, JobState | None]], hopeless: Set[str]) -> bool:
    """Whether a job that it follows has not succeeded and never will."""
    if state.state != "PENDING":
        return False
    states = {other.id: each for other, each in found}
    for number in hopeless & set(job.after):
        before = states.get(number)
        # What Slurm has forgotten has ended; nothing waits any longer for a job that has succeeded.
        if state.reason.startswith("Dependency") if before is None else before.state != "COMPLETED":
            return True
    return False


def followers(jobs: Mapping[Key, tuple[Job, JobState]], of: Set[str]) -> list[Job]:
    """Return the jobs that wait for one of these ids, directly or through other jobs."""
    ids, found = set(of), list[Job]()
    for job, state in sorted(jobs.values(), key=lambda each: int(each[0].id)):  # so each comes after its predecessor
        if state.state == "PENDING" and ids.intersection(job.after) and job.id not in ids:
            ids.add(job.id)
            found.append(job)
    return found
