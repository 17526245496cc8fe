"""Job requests: sbatch's options and variables for each leg to train and each version to promote.

The scripts that these jobs run are in slurm/ at the top of the project, and read the variables.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.releases import releases_of
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.slurm.container_mounts import mountable, mounts
from megatron_lrps.launch.slurm.job_history import PROMOTION, Job, Key
from megatron_lrps.launch.slurm.slurm_commands import JobState
from megatron_lrps.launch.slurm.wanted_jobs import superseded, wanted_jobs
from megatron_lrps.plan import Plan, PlannedPath, Tree
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.gate import PREVIOUS, previous_of, read_gate_file
from megatron_lrps.plan.keys.scoring_and_release import SmallJob
from megatron_lrps.plan.keys.slurm_job import SlurmLaunch
from megatron_lrps.plan.path_legs import Leg
from megatron_lrps.plan.version_source import sources_of

SCRIPTS = (Path(__file__).parent / "scripts").resolve()
"""The folder of main.sbatch, branch.sbatch, merge.sbatch, promote.sbatch, lib.sh and site.sh."""
_IMAGES = (".sqsh", ".sif")
_PASSED_ON = ("SIGUSR1", "SIGUSR2")


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """One job to submit with sbatch.

    Attributes:
        leg: The leg that it trains; for a promotion, the end of the path.
        promotes: Whether it promotes the end of the path instead of training.
        after: The jobs or legs that must succeed before it starts.
        behind: Jobs or legs that must end before it starts, successfully or not.
        name: The name of the job.
        options: The options of sbatch, without the dependency.
        script: The script that it runs.
        env: Variables for the script; all names begin with ``LRPS_``.
        replaces: The job that waits in vain to do the same, or None.
    """

    leg: Leg
    promotes: bool = False
    after: tuple[Job | Key, ...]
    behind: tuple[Job | Key, ...] = ()
    name: str
    options: tuple[str, ...]
    script: Path
    env: Mapping[str, str]
    replaces: Job | None = None

    @property
    def key(self) -> Key:
        """The leg that it trains, or the path that it promotes."""
        return (self.leg.path.name, PROMOTION) if self.promotes else self.leg.key

    def __str__(self) -> str:
        path = self.leg.path.name
        if self.promotes:
            return f"promotion of {path}"
        return f"merge of {path}" if self.leg.path.mean else f"{path} until {self.leg.until}"


def job_requests(campaign: Campaign, only: str | None, running: Mapping[Key, tuple[Job, JobState]]) -> list[JobRequest]:
    """Return the jobs to submit, each after the jobs that it follows.

    Args:
        campaign: The campaign.
        only: The name of one path, or None for all paths.
        running: Its jobs that wait or run.

    Raises:
        RefusedError: the plan cannot be trained by Slurm, or does not fit the jobs that run.
    """
    slurm_of(campaign.plan)
    saved = {path.name: standing_of(campaign, path).position for path in campaign.paths}
    training = {key: job for key, job in running.items() if key[1] != PROMOTION}
    wanted = wanted_jobs(campaign.tree, saved, training, only)
    found = [replace(_training(campaign, each.leg, each.after), replaces=each.replaces) for each in wanted]
    jobs: dict[Key, Job | Key] = {key: job for key, (job, state) in running.items() if not state.in_vain}
    jobs |= {request.key: request.key for request in found}
    earlier: list[str] = []
    for path in unreleased(campaign):
        key = (path.name, PROMOTION)
        after = tuple(job for job in (jobs.get((path.name, path.end)),) if job is not None)
        old = running.get(key)
        if old and superseded(old, after):
            jobs.pop(key, None)
        if key not in jobs and only in (None, path.name) and (after or saved[path.name] >= path.end):
            judges = [(other, PROMOTION) for other in _judged_by(campaign.tree, path, earlier)]
            promotion = _promotion(campaign, path, after, tuple(jobs[judge] for judge in judges if judge in jobs))
            found.append(replace(promotion, replaces=old[0] if old else None))
            jobs[key] = key
        earlier.append(path.name)
    return found


def unreleased(campaign: Campaign) -> list[PlannedPath]:
    """Return the paths that the plan promotes but that are not released at their ends, in version order."""
    if campaign.plan.promote is None:
        return []
    paths = [campaign.path(source.path) for source in sources_of(campaign.tree)]
    return [path for path in paths if not releases_of(campaign.folder.path(path.name), path.end)]


def _judged_by(tree: Tree, path: PlannedPath, earlier: list[str]) -> list[str]:
    """Return the earlier promoted paths whose scores this path's gate compares with."""
    promote = tree.plan.promote
    if promote is None or promote.gate is None:
        return []
    named = {condition.version for condition in read_gate_file(promote.gate)}
    if PREVIOUS in named:
        named |= {previous_of(tree, path.name)}
    return [name for name in earlier if name in named or tree.path(name).version in named]


def slurm_of(plan: Plan) -> SlurmLaunch:
    """Return the plan's ``launch.slurm``; raises RefusedError if it is missing."""
    if plan.launch.slurm is None:
        raise RefusedError(
            "launch.slurm is not in the plan.",
            'add it: {nodes: 4, gpus_per_node: 8, partition: NAME, time: "24:00:00"}.',
        )
    return plan.launch.slurm


def refuse_missing_container(plan: Plan) -> None:
    """Refuse an image file that does not exist, but leave the names of a registry's images to pyxis.

    Raises:
        RefusedError: naming the file.
    """
    image = slurm_of(plan).container
    if image is None or "://" in image or "#" in image or not ("/" in image or image.endswith(_IMAGES)):
        return
    if image.startswith("/") and not Path(image).exists():
        raise RefusedError(f"launch.slurm.container: {image} does not exist.", "correct its path, or make the image.")
    if not image.startswith("/") and image.endswith(_IMAGES):
        raise RefusedError(
            f"launch.slurm.container: {image} is a relative path, but jobs start in another folder.",
            "write the absolute path.",
        )


def _training(campaign: Campaign, leg: Leg, after: tuple[Job | Key, ...]) -> JobRequest:
    plan = campaign.plan
    slurm, path = slurm_of(plan), leg.path
    if path.mean:
        return _merging(campaign, leg, after)
    signal = str(path_flags(campaign.tree, path)["exit-signal"])
    if signal not in _PASSED_ON:
        raise RefusedError(
            f"megatron.exit-signal is {signal}, but srun only passes {' and '.join(_PASSED_ON)} on to the ranks; "
            "it kills them on SIGTERM before they can save.",
            "choose one of these two signals.",
        )
    name = f"lrps-{plan.campaign}-{path.name}-{leg.until}"
    given = {
        "mem": slurm.mem,
        "cpus-per-task": slurm.cpus_per_task,
        "gpus-per-node": slurm.gpus_per_node if plan.launch.device == "gpu" else None,
        "exclusive": slurm.exclusive or None,
    }
    size = (f"--nodes={slurm.nodes}", f"--ntasks-per-node={slurm.gpus_per_node}")
    return JobRequest(
        leg=leg,
        after=after,
        name=name,
        options=(*size, *_options(campaign, path, name, given)),
        script=SCRIPTS / ("main.sbatch" if path.kind == "main" else "branch.sbatch"),
        env={
            **_env(campaign, path.name),
            "LRPS_UNTIL": str(leg.until),
            "LRPS_EXIT_SIGNAL": signal,
            "LRPS_ALERTS": "1" if plan.alerts.outside else "",
            "LRPS_FT_LAUNCHER": "1" if plan.launch.ft_launcher else "",
        },
    )


def _merging(campaign: Campaign, leg: Leg, after: tuple[Job | Key, ...]) -> JobRequest:
    plan = campaign.plan
    version = next((each for each in plan.versions if each.name == leg.path.version), None)
    merge = plan.merge_of(version) if version else None
    name = f"lrps-{plan.campaign}-{leg.path.name}-{leg.until}"
    return JobRequest(
        leg=leg,
        after=after,
        name=name,
        options=_small(campaign, leg.path, name, merge.slurm if merge else SmallJob(), gpus=0),
        script=SCRIPTS / "merge.sbatch",
        env=_env(campaign, leg.path.name),
    )


def _small(campaign: Campaign, path: PlannedPath, name: str, own: SmallJob, *, gpus: int) -> tuple[str, ...]:
    """Return sbatch's options for a job of one task on one node, which has so many GPUs by default."""
    plan, slurm = campaign.plan, slurm_of(campaign.plan)
    count = gpus if own.gpus is None else own.gpus
    given = {
        "mem": own.mem,
        "cpus-per-task": own.cpus_per_task,
        "gpus-per-node": (count or None) if plan.launch.device == "gpu" else None,
        "partition": own.partition or slurm.partition,
        "time": own.time or slurm.time,
    }
    return ("--nodes=1", "--ntasks-per-node=1", *_options(campaign, path, name, given))


def _promotion(
    campaign: Campaign, path: PlannedPath, after: tuple[Job | Key, ...], behind: tuple[Job | Key, ...]
) -> JobRequest:
    plan = campaign.plan
    name = f"lrps-{plan.campaign}-{path.name}-promote"
    own = plan.promote.slurm if plan.promote else SmallJob()
    return JobRequest(
        leg=Leg(path=path, start=path.end, until=path.end),
        promotes=True,
        after=after,
        behind=behind,
        name=name,
        options=_small(campaign, path, name, own, gpus=1),
        script=SCRIPTS / "promote.sbatch",
        env=_env(campaign, path.name),
    )


def _options(
    campaign: Campaign, path: PlannedPath, name: str, given: Mapping[str, str | int | None]
) -> tuple[str, ...]:
    """Return sbatch's options except the job's size; the given options override the plan's ``launch.slurm``."""
    slurm = slurm_of(campaign.plan)
    log = f"{campaign.folder.path(path.name).logs}/slurm-".replace("%", "%%")
    asked = {
        "partition": slurm.partition, "time": slurm.time, "account": slurm.account, "qos": slurm.qos,
        "constraint": slurm.constraint, **given, **slurm.options,
    }  # fmt: skip
    return (
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in asked.items() if value is not None),
        f"--job-name={name}",
        f"--output={log}%j.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{slurm.signal_before}",
        "--kill-on-invalid-dep=yes",
        "--export=ALL",
        "--hold",
    )


def _env(campaign: Campaign, path: str) -> dict[str, str]:
    plan, slurm = campaign.plan, slurm_of(campaign.plan)
    env = {
        "LRPS_PLAN": str(campaign.folder.plan),  # the accepted copy: an edit waits for the next submit
        "LRPS_SAVE": str(campaign.folder.root),
        "LRPS_PATH": path,
        "LRPS_DEVICE": plan.launch.device,
        "LRPS_MAX_REQUEUES": str(slurm.max_requeues),
        "LRPS_PYTHON": "",  # comes from the site file or the container, else LRPS_HOST_PYTHON
        "LRPS_HOST_PYTHON": sys.executable,
        "LRPS_SLURM_DIR": str(SCRIPTS),
        "LRPS_SITE": str(slurm.site or SCRIPTS / "site.sh"),
    }
    folders = mounts(plan)
    if slurm.container:
        for folder in folders:
            if not mountable(folder):
                raise RefusedError(
                    f"{folder} cannot be mounted into a container, because its name holds ',' or ':'.", "rename it."
                )
        env |= {"LRPS_CONTAINER": slurm.container, "LRPS_CONTAINER_RUNTIME": slurm.container_runtime}
    # A site file may name a container too.
    env["LRPS_MOUNTS"] = ",".join(f"{folder}:{folder}" for folder in folders if mountable(folder))
    return env
