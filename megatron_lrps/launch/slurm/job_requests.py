"""What sbatch is asked for: a job for each leg that is to be trained, and one for each version to be promoted."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import state_of
from megatron_lrps.campaign.releases import is_released
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.slurm.container_mounts import mountable, mounts
from megatron_lrps.launch.slurm.job_history import PROMOTION, Job, Key
from megatron_lrps.launch.slurm.legs import superseded, wanted_jobs
from megatron_lrps.launch.slurm.slurm_commands import JobState
from megatron_lrps.plan import Plan, PlannedPath, Tree
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.plan.gate import PREVIOUS, previous_of, read_gate_file
from megatron_lrps.plan.keys.scoring_and_release import PromotionJob
from megatron_lrps.plan.keys.slurm_job import SlurmLaunch
from megatron_lrps.plan.path_legs import Leg
from megatron_lrps.plan.version_source import sources_of

SCRIPTS = (Path(__file__).parent / "scripts").resolve()
"""main.sbatch, branch.sbatch, promote.sbatch, lib.sh and site.sh."""
_IMAGES = (".sqsh", ".sif")
_PASSED_ON = ("SIGUSR1", "SIGUSR2")


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """One job as sbatch is asked for it.

    Attributes:
        leg: What it trains; for a promotion, the end of the path.
        promotes: It promotes the path's end, and trains nothing.
        after: The job or leg that must have ended well.
        behind: Jobs or legs that must have ended, well or not.
        name: The job's name.
        options: sbatch's options, without the dependency.
        script: main.sbatch or branch.sbatch.
        env: Variables for the script, all beginning with ``LRPS_``.
        replaces: The job that waits in vain to do the same, or None.
    """

    leg: Leg
    promotes: bool = False
    after: Job | Key | None
    behind: tuple[Job | Key, ...] = ()
    name: str
    options: tuple[str, ...]
    script: Path
    env: Mapping[str, str]
    replaces: Job | None = None

    @property
    def key(self) -> Key:
        """What it trains, or promotes."""
        return (self.leg.path.name, PROMOTION) if self.promotes else self.leg.key

    def __str__(self) -> str:
        path = self.leg.path.name
        return f"promotion of {path}" if self.promotes else f"{path} until {self.leg.until}"


def requests(tree: Tree, only: str | None, running: Mapping[Key, tuple[Job, JobState]]) -> list[JobRequest]:
    """The jobs to submit, each after those it follows; raises RefusedError."""
    campaign = CampaignFolder(tree.plan.folder)
    slurm_of(tree.plan)
    saved = {path.name: state_of(campaign, path).saved or path.fork for path in tree.paths}
    training = {key: job for key, job in running.items() if key[1] != PROMOTION}
    wanted = wanted_jobs(tree, saved, training, only)
    found = [replace(_training(tree, campaign, each.leg, each.after), replaces=each.replaces) for each in wanted]
    jobs: dict[Key, Job | Key] = {key: job for key, (job, state) in running.items() if not state.in_vain}
    jobs |= {request.key: request.key for request in found}
    earlier: list[str] = []
    for path in unreleased(tree):
        key = (path.name, PROMOTION)
        after = jobs.get((path.name, path.end))
        old = running.get(key)
        if old and superseded(old, after):
            jobs.pop(key, None)
        if key not in jobs and only in (None, path.name) and (after is not None or saved[path.name] >= path.end):
            behind = tuple(
                jobs[other, PROMOTION] for other in _judged_by(tree, path, earlier) if (other, PROMOTION) in jobs
            )
            promotion = _promotion(tree, campaign, path, after, behind)
            found.append(replace(promotion, replaces=old[0] if old else None))
            jobs[key] = key
        earlier.append(path.name)
    return found


def unreleased(tree: Tree) -> list[PlannedPath]:
    """Paths that the plan wants promoted and that are not released at their end, in the order of their versions."""
    if tree.plan.promote is None:
        return []
    campaign = CampaignFolder(tree.plan.folder)
    paths = [tree.path(source.path) for source in sources_of(tree)]
    return [path for path in paths if not is_released(campaign.path(path.name), path.end)]


def _judged_by(tree: Tree, path: PlannedPath, earlier: list[str]) -> list[str]:
    """Paths promoted before this one whose scores its gate asks for."""
    promote = tree.plan.promote
    if promote is None or promote.gate is None:
        return []
    named = {condition.version for condition in read_gate_file(promote.gate)}
    if PREVIOUS in named:
        named |= {previous_of(tree, path.name)}
    return [name for name in earlier if name in named or tree.path(name).version in named]


def slurm_of(plan: Plan) -> SlurmLaunch:
    """``launch.slurm``; raises RefusedError where the plan has none."""
    if plan.launch.slurm is None:
        raise RefusedError(
            "launch.slurm is not in the plan.",
            'add it: {nodes: 4, gpus_per_node: 8, partition: NAME, time: "24:00:00"}.',
        )
    return plan.launch.slurm


def refuse_missing_container(plan: Plan) -> None:
    """Refuse an image file that is not there; names of a registry's images are pyxis' to find. Raises RefusedError."""
    image = slurm_of(plan).container
    if image is None or "://" in image or "#" in image or not ("/" in image or image.endswith(_IMAGES)):
        return
    if image.startswith("/") and not Path(image).exists():
        raise RefusedError(f"launch.slurm.container: {image} does not exist.", "correct its path, or make the image.")
    if not image.startswith("/") and image.endswith(_IMAGES):
        raise RefusedError(
            f"launch.slurm.container: {image} is a relative path, and jobs start elsewhere.", "write the whole path."
        )


def _training(tree: Tree, campaign: CampaignFolder, leg: Leg, after: Job | Key | None) -> JobRequest:
    plan = tree.plan
    slurm, path = slurm_of(plan), leg.path
    signal = str(path_flags(tree, path)["exit-signal"])
    if signal not in _PASSED_ON:
        raise RefusedError(
            f"megatron.exit-signal: {signal}, but srun passes {' and '.join(_PASSED_ON)} on to the ranks, and for "
            "SIGTERM kills them before they can save.",
            "give one of these.",
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
        options=(*size, *_options(campaign, slurm, path.name, name, given, slurm.partition, slurm.time)),
        script=SCRIPTS / ("main.sbatch" if path.kind == "main" else "branch.sbatch"),
        env={**_env(plan, campaign, path.name), "LRPS_UNTIL": str(leg.until), "LRPS_EXIT_SIGNAL": signal},
    )


def _promotion(
    tree: Tree, campaign: CampaignFolder, path: PlannedPath, after: Job | Key | None, behind: tuple[Job | Key, ...]
) -> JobRequest:
    plan = tree.plan
    slurm, own = slurm_of(plan), plan.promote.slurm if plan.promote else PromotionJob()
    name = f"lrps-{plan.campaign}-{path.name}-promote"
    given = {
        "mem": own.mem,
        "cpus-per-task": own.cpus_per_task,
        "gpus-per-node": (own.gpus or None) if plan.launch.device == "gpu" else None,
    }
    options = _options(
        campaign, slurm, path.name, name, given, own.partition or slurm.partition, own.time or slurm.time
    )
    return JobRequest(
        leg=Leg(path=path, start=path.end, until=path.end),
        promotes=True,
        after=after,
        behind=behind,
        name=name,
        options=("--nodes=1", "--ntasks-per-node=1", *options),
        script=SCRIPTS / "promote.sbatch",
        env=_env(plan, campaign, path.name),
    )


def _options(
    campaign: CampaignFolder,
    slurm: SlurmLaunch,
    path: str,
    name: str,
    given: Mapping[str, str | int | None],
    partition: str | None,
    time: str | None,
) -> tuple[str, ...]:
    """sbatch's options but for the job's size."""
    log = f"{campaign.path(path).logs}/slurm-".replace("%", "%%")
    asked = {
        "partition": partition, "time": time, "account": slurm.account, "qos": slurm.qos,
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


def _env(plan: Plan, campaign: CampaignFolder, path: str) -> dict[str, str]:
    slurm = slurm_of(plan)
    env = {
        "LRPS_PLAN": str(campaign.plan),  # the accepted copy: an edit waits for the next submit
        "LRPS_SAVE": str(campaign.root),
        "LRPS_PATH": path,
        "LRPS_DEVICE": plan.launch.device,
        "LRPS_MAX_REQUEUES": str(slurm.max_requeues),
        "LRPS_PYTHON": "",  # the site file's, or the container's, or else this one
        "LRPS_HOST_PYTHON": sys.executable,
        "LRPS_SLURM_DIR": str(SCRIPTS),
        "LRPS_SITE": str(slurm.site or SCRIPTS / "site.sh"),
    }
    folders = mounts(plan)
    if slurm.container:
        for folder in folders:
            if not mountable(folder):
                raise RefusedError(f"{folder} cannot be mounted into a container: it holds ',' or ':'.", "rename it.")
        env |= {"LRPS_CONTAINER": slurm.container, "LRPS_CONTAINER_RUNTIME": slurm.container_runtime}
    # A site file may name a container too.
    env["LRPS_MOUNTS"] = ",".join(f"{folder}:{folder}" for folder in folders if mountable(folder))
    return env
