"""Submitting the missing parts of a campaign as dependent Slurm jobs: all of them, or none."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import LrpsError, RefusedError, StorageError
from megatron_lrps.launch.slurm import slurm_commands
from megatron_lrps.launch.slurm.job_history import Job, Key, active, jobs_file, record, recorded
from megatron_lrps.launch.slurm.job_requests import SCRIPTS, JobRequest, job_requests
from megatron_lrps.storage.files import try_lock


def as_shell(jobs: Sequence[JobRequest]) -> str:
    """Return a shell script that does what `lrps submit` would do, followed by the text of the jobs' scripts."""
    names = {job.key: f"job{number}" for number, job in enumerate(jobs, 1)}
    said = {job.key: str(job) for job in jobs}
    lines = []
    for job in jobs:
        follows = [*job.after, *job.behind]
        after = [f"{each}, job {each.id}" if isinstance(each, Job) else said[each] for each in follows]
        lines.append(f"# {job}{', after ' if after else ''}{', '.join(after)}")
        variables = shlex.join(f"{key}={value}" for key, value in job.env.items())
        # Shell variables stand for the jobs that are submitted before this one.
        given = _dependency(job, {key: f'"${name}"' for key, name in names.items()})
        dependency = "".join(f" {each}" for each in given)
        options = shlex.join(job.options)
        command = f"sbatch --parsable {options}{dependency} {shlex.quote(str(job.script))}"
        lines.append(f"{names[job.key]}=$(env {variables} {command})\n")
    if old := [job.replaces.id for job in jobs if job.replaces]:
        lines.append("scancel " + " ".join(old))  # they wait for jobs that will not succeed
    lines.append("scontrol release " + ",".join(f"${name}" for name in names.values()))
    for script in dict.fromkeys([*(job.script for job in jobs), SCRIPTS / "lib.sh"]):
        text = "".join(f"# | {line}\n" for line in script.read_text(encoding="utf-8").splitlines())
        lines.append(f"\n# {script}:\n{text.rstrip()}")
    return "\n".join(lines)


def _number(job: Job | Key, ids: Mapping[Key, str]) -> str:
    return job.id if isinstance(job, Job) else ids[job]


def _dependency(request: JobRequest, ids: Mapping[Key, str]) -> list[str]:
    """Return sbatch's option for the job's dependencies, or nothing."""
    ok = [f"afterok:{_number(each, ids)}" for each in request.after]
    conditions = [*ok, *(f"afterany:{_number(each, ids)}" for each in request.behind)]
    return [f"--dependency={','.join(conditions)}"] if conditions else []


def submit(campaign: Campaign, only: str | None, say: Callable[[str], None]) -> list[tuple[JobRequest, str, str]]:
    """Submit what has no job yet; jobs are held until Slurm has accepted all, and on any error all are cancelled.

    Returns:
        Each job with its id, and the id of the job that it follows or an empty text.

    Raises:
        RefusedError: Slurm refuses a job, in its own words, or the plan does not fit the campaign's jobs.
        StorageError: the jobs could not be recorded.
    """
    folder = campaign.folder
    with _one_submit(folder):
        running = active(folder)
        jobs = job_requests(campaign, only, running)
        old = [request.replaces.id for request in jobs if request.replaces]
        half = [job.id for job, state in running.values() if state.held and not job.released and job.id not in old]
        _end_unrecorded(folder, jobs, say)
        for request in jobs:
            _make_folder(folder.path(request.leg.path.name).logs)
        done: list[tuple[JobRequest, str, str]] = []
        try:
            for request in jobs:
                ids = {each.key: number for each, number, _ in done}
                dependency = _dependency(request, ids)
                number = slurm_commands.sbatch([*request.options, *dependency], str(request.script), request.env)
                after = ",".join(_number(each, ids) for each in request.after)
                done.append((request, number, after))
                what = {"until": None, "promotes": True} if request.promotes else {"until": request.leg.until}
                record(
                    folder, "submitted", job=number, name=request.name, path=request.leg.path.name, **what,
                    after=after or None,
                )  # fmt: skip
            _take_back(folder, old)
            if numbers := [*half, *(number for _, number, _ in done)]:
                slurm_commands.release(numbers)
                record(folder, "released", jobs=numbers)
        except BaseException as error:
            _take_back(folder, [number for _, number, _ in done])
            if isinstance(error, RefusedError) and done:
                say(f"Slurm had accepted {len(done)} of the jobs; they are cancelled, and nothing is submitted.")
            raise
        return done


def _end_unrecorded(folder: CampaignFolder, jobs: Sequence[JobRequest], say: Callable[[str], None]) -> None:
    """Cancel held jobs in the queue that an earlier submit was killed before it could record."""
    if not jobs:
        return
    known, here = {job.id for job in recorded(folder)}, f"{folder.root}/"
    held = slurm_commands.held_jobs(job.name for job in jobs)
    # Another campaign may have the same name, but it has other logs.
    left = [
        number for number, output in held.items() if number not in known and output.replace("%%", "%").startswith(here)
    ]
    if left:
        slurm_commands.cancel(left)
        say(f"Cancelled, because an interrupted lrps submit has left them: {', '.join(left)}.")


def _take_back(folder: CampaignFolder, numbers: list[str]) -> None:
    if numbers:
        slurm_commands.cancel(numbers)
        with contextlib.suppress(LrpsError):  # the disk may be what failed
            record(folder, "cancelled", jobs=numbers)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} could not be made: {error.strerror}.", "make room, then rerun.") from None


@contextlib.contextmanager
def _one_submit(folder: CampaignFolder) -> Iterator[None]:
    """Let one submit at a time look for missing jobs; file systems without locks do not enforce this."""
    jobs = jobs_file(folder).parent
    _make_folder(jobs)
    try:
        lock = (jobs / ".submit").open("a")
    except OSError as error:
        raise StorageError(f"{jobs} is not writable: {error.strerror}.", "make room, then rerun.") from None
    with lock:
        if not try_lock(lock):
            raise RefusedError(f"Another lrps submit of {folder.root} is running.", "wait for it, then rerun.")
        yield
