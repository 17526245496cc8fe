"""`lrps submit`: what is missing of a campaign as Slurm jobs that follow one another; all of them, or none."""

import contextlib
import fcntl
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.errors import LrpsError, RefusedError, StorageError
from megatron_lrps.launch.slurm import client
from megatron_lrps.launch.slurm.jobs import Job, Key, active, jobs_file, record
from megatron_lrps.launch.slurm.parts import Part, Wanted, wanted_jobs
from megatron_lrps.plan import Plan, Tree
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.slurm import SlurmLaunch
from megatron_lrps.versions.folder import CampaignFolder
from megatron_lrps.versions.lineage import state_of

SCRIPTS = (Path(__file__).parent / "scripts").resolve()
"""main.sbatch, branch.sbatch, lib.sh and site.sh."""
_PASSED_ON = ("SIGUSR1", "SIGUSR2", "SIGTERM")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One job as sbatch is asked for it.

    Attributes:
        part: What it trains.
        after: The job or part that must have ended well.
        name: The job's name.
        options: sbatch's options, without the dependency.
        script: main.sbatch or branch.sbatch.
        env: Variables for the script, all beginning with ``LRPS_``.
    """

    part: Part
    after: Job | Key | None
    name: str
    options: tuple[str, ...]
    script: Path
    env: Mapping[str, str]


def slurm_of(plan: Plan) -> SlurmLaunch:
    """``launch.slurm``; raises RefusedError where the plan has none."""
    if plan.launch.slurm is None:
        raise RefusedError(
            "launch.slurm is not in the plan.",
            'add it: {nodes: 4, gpus_per_node: 8, partition: NAME, time: "24:00:00"}.',
        )
    return plan.launch.slurm


def requests(tree: Tree, only: str | None, running: Mapping[Key, tuple[Job, client.JobState]]) -> list[Request]:
    """The jobs to submit, each after the one it follows; raises RefusedError."""
    campaign = CampaignFolder(tree.plan.folder)
    saved = {path.name: state_of(campaign, path).saved or path.fork for path in tree.paths}
    return [_request(tree, campaign, each) for each in wanted_jobs(tree, saved, running, only)]


def _request(tree: Tree, campaign: CampaignFolder, wanted: Wanted) -> Request:
    plan, part = tree.plan, wanted.part
    slurm, path = slurm_of(plan), wanted.part.path
    name = f"lrps-{plan.campaign}-{path.name}-{part.until}"
    signal = str(path_flags(tree, path)["exit-signal"])
    if signal not in _PASSED_ON:
        raise RefusedError(
            f"megatron.exit-signal: {signal}, but srun passes {', '.join(_PASSED_ON)} on to the ranks.",
            "give one of them.",
        )
    log = f"{campaign.path(path.name).logs}/slurm-".replace("%", "%%")
    given = {
        "partition": slurm.partition, "time": slurm.time, "account": slurm.account, "qos": slurm.qos,
        "constraint": slurm.constraint, "mem": slurm.mem, "cpus-per-task": slurm.cpus_per_task,
        "gpus-per-node": slurm.gpus_per_node if plan.launch.device == "gpu" else None,
        "exclusive": slurm.exclusive or None, **slurm.options,
    }  # fmt: skip
    options = (
        f"--nodes={slurm.nodes}",
        f"--ntasks-per-node={slurm.gpus_per_node}",
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items() if value is not None),
        f"--job-name={name}",
        f"--output={log}%j.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{slurm.signal_before}",
        "--kill-on-invalid-dep=yes",
        "--export=ALL",
        "--hold",
    )
    env = {
        "LRPS_PLAN": str(campaign.plan),  # the accepted copy: an edit waits for the next submit
        "LRPS_SAVE": str(campaign.root),
        "LRPS_PATH": path.name,
        "LRPS_UNTIL": str(part.until),
        "LRPS_DEVICE": plan.launch.device,
        "LRPS_EXIT_SIGNAL": signal,
        "LRPS_MAX_REQUEUES": str(slurm.max_requeues),
        "LRPS_PYTHON": "python3" if slurm.container else sys.executable,
        "LRPS_SLURM_DIR": str(SCRIPTS),
        "LRPS_SITE": str(plan.resolve(slurm.site) if slurm.site else SCRIPTS / "site.sh"),
    }
    if slurm.container:
        env |= {
            "LRPS_CONTAINER": slurm.container,
            "LRPS_CONTAINER_RUNTIME": slurm.container_runtime,
            "LRPS_MOUNTS": ",".join(f"{folder}:{folder}" for folder in _mounts(plan)),
        }
    script = SCRIPTS / ("main.sbatch" if path.kind == "main" else "branch.sbatch")
    return Request(part=part, after=wanted.after, name=name, options=options, script=script, env=env)


def _mounts(plan: Plan) -> list[Path]:
    """Folders that the ranks read and write: the campaign's, the data's and the tokenizer's."""
    prefixes = [prefix for version in plan.versions for _, prefix in version.train]
    prefixes += [prefix for version in plan.versions for prefix in version.valid.values()]
    if plan.tokenizer and plan.tokenizer.model:
        prefixes.append(plan.tokenizer.model)
    folders = dict.fromkeys([plan.folder, *(plan.resolve(prefix).parent for prefix in prefixes)])
    for folder in folders:
        if set(",:") & set(str(folder)):
            raise RefusedError(f"{folder} cannot be mounted into a container: it holds ',' or ':'.", "rename it.")
    return list(folders)


def as_shell(jobs: Sequence[Request]) -> str:
    """What `lrps submit` would do, as a shell script, with the text of every script that the jobs run."""
    names = {job.part.key: f"job{number}" for number, job in enumerate(jobs, 1)}
    lines = []
    for job in jobs:
        after = f"{job.after.path} until {job.after.until}, job {job.after.id}" if isinstance(job.after, Job) else ""
        if isinstance(job.after, tuple):
            after = f"{job.after[0]} until {job.after[1]}"
        lines.append(f"# {job.part.path.name} until {job.part.until}{', after ' if after else ''}{after}")
        variables = shlex.join(f"{key}={value}" for key, value in job.env.items())
        dependency = ""
        if job.after is not None:
            number = job.after.id if isinstance(job.after, Job) else f'"${names[job.after]}"'
            dependency = f" --dependency=afterok:{number}"
        options = shlex.join(job.options)
        command = f"sbatch --parsable {options}{dependency} {shlex.quote(str(job.script))}"
        lines.append(f"{names[job.part.key]}=$(env {variables} {command})\n")
    lines.append("scontrol release " + ",".join(f"${name}" for name in names.values()))
    for script in dict.fromkeys([*(job.script for job in jobs), SCRIPTS / "lib.sh"]):
        text = "".join(f"# | {line}\n" for line in script.read_text(encoding="utf-8").splitlines())
        lines.append(f"\n# {script}:\n{text.rstrip()}")
    return "\n".join(lines)


def submit(tree: Tree, only: str | None, say: Callable[[str], None]) -> list[tuple[Request, str, str]]:
    """Submit what has no job yet; each job with its id and that of the one it follows (or empty).

    Jobs are held until all are accepted: on any error all are cancelled.

    Raises:
        RefusedError: in Slurm's own words, or where the plan does not fit its jobs.
        StorageError: the jobs could not be recorded.
    """
    campaign = CampaignFolder(tree.plan.folder)
    with _one_submit(campaign):
        running = active(campaign)
        jobs = requests(tree, only, running)
        half = [job.id for job, state in running.values() if state.held and not job.released]
        for request in jobs:
            _make_folder(campaign.path(request.part.path.name).logs)
        done: list[tuple[Request, str, str]] = []
        try:
            for request in jobs:
                ids = {each.part.key: number for each, number, _ in done}
                after = request.after.id if isinstance(request.after, Job) else ids.get(request.after, "")  # type: ignore[arg-type]
                dependency = [f"--dependency=afterok:{after}"] if after else []
                number = client.sbatch([*request.options, *dependency], str(request.script), request.env)
                done.append((request, number, after))
                record(
                    campaign, "submitted", job=number, name=request.name, path=request.part.path.name,
                    until=request.part.until, after=after or None,
                )  # fmt: skip
            if numbers := [*half, *(number for _, number, _ in done)]:
                client.release(numbers)
                record(campaign, "released", jobs=numbers)
        except BaseException as error:
            _take_back(campaign, [number for _, number, _ in done])
            if isinstance(error, RefusedError) and done:
                say(f"Jobs that Slurm had accepted before were cancelled, {len(done)} of them; nothing is submitted.")
            raise
        return done


def _take_back(campaign: CampaignFolder, numbers: list[str]) -> None:
    if numbers:
        client.cancel(numbers)
        with contextlib.suppress(LrpsError):  # the disk may be what failed
            record(campaign, "cancelled", jobs=numbers)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} could not be made: {error.strerror}.", "make room, then rerun.") from None


@contextlib.contextmanager
def _one_submit(campaign: CampaignFolder) -> Iterator[None]:
    """Let one submit at a time look for what has no job; on file systems without locks they are not kept apart."""
    folder = jobs_file(campaign).parent
    _make_folder(folder)
    try:
        lock = (folder / ".submit").open("a")
    except OSError as error:
        raise StorageError(f"{folder} is not writable: {error.strerror}.", "make room, then rerun.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"Another lrps submit of {campaign.root} is at work.", "wait for it, then rerun."
            ) from None
        except OSError:
            pass
        yield
