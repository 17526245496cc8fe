"""Which legs of a campaign need a job, and which job each of them follows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.slurm.job_history import Job, Key
from megatron_lrps.launch.slurm.slurm_commands import JobState
from megatron_lrps.plan import Tree
from megatron_lrps.plan.path_legs import Leg, legs_of


@dataclass(frozen=True, kw_only=True)
class WantedJob:
    """A leg that needs a job.

    Attributes:
        leg: The leg.
        after: The jobs, or legs without a job, that it follows; legs that are trained are left out.
        replaces: Its job that waits in vain, or None.
    """

    leg: Leg
    after: tuple[Job | Key, ...]
    replaces: Job | None = None


def wanted_jobs(
    tree: Tree, saved: Mapping[str, int], active: Mapping[Key, tuple[Job, JobState]], only: str | None
) -> list[WantedJob]:
    """Return the untrained legs without a job that can start, each after the legs that it follows.

    Jobs that wait in vain do not count, nor do those that wait for a fork point which a new job trains.

    Args:
        tree: The tree of paths.
        saved: The iteration that each path has been trained to.
        active: The jobs that wait or run.
        only: The name of one path, or None for all paths.

    Raises:
        RefusedError: a job trains by an older plan, or a leg follows one that is neither trained nor submitted.
    """
    able = {key: job for key, job in active.items() if not job[1].in_vain}
    jobs: dict[Key, Job | Key] = {key: job for key, (job, _) in able.items()}
    wanted: list[WantedJob] = []
    for leg in legs_of(tree):
        name, until = leg.key
        missing = [before for before in leg.before if saved[before[0]] < before[1]]
        after = tuple(jobs[before] for before in missing if before in jobs)
        if saved[name] >= until or (leg.key in able and not superseded(able[leg.key], after)):
            continue
        asked = only in (None, name)
        covering = _covering(leg, able, tree, asked=asked) if leg.key not in able else None
        if covering:
            jobs[leg.key] = covering
        if covering or not asked:
            continue
        if len(after) < len(missing):
            before = next(each for each in missing if each not in jobs)
            raise RefusedError(
                f"path {name}: it follows {before[0]} at {before[1]}, which is not trained and has no job.",
                f"leave out --path, so that {before[0]} is submitted too.",
            )
        wanted.append(WantedJob(leg=leg, after=after, replaces=active[leg.key][0] if leg.key in active else None))
        jobs[leg.key] = leg.key
    return wanted


def superseded(job: tuple[Job, JobState], after: Iterable[Job | Key]) -> bool:
    """Whether a job waits although a leg that it follows gets a new job."""
    return job[1].state == "PENDING" and not all(isinstance(each, Job) for each in after)


def _covering(leg: Leg, active: Mapping[Key, tuple[Job, JobState]], tree: Tree, *, asked: bool) -> Job | None:
    """Return a waiting job that will train the path past the end of the leg and save there, or None.

    A path has one writer, so a job that ends at an iteration this plan does not have blocks the leg's job.

    Raises:
        RefusedError: such a job blocks a leg that was requested.
    """
    name, until = leg.key
    ends = {*tree.fork_points(name), tree.path(name).end}
    for (path, other), (job, state) in sorted(active.items()):
        if path != name:
            continue
        if other not in ends or (other > until and state.state != "PENDING"):
            if not asked:
                return None
            raise RefusedError(
                f"path {name}: job {job.id} trains it until {other} by an older plan, but the plan now wants {until}.",
                f"run lrps cancel PLAN --path {name}, which loses what is not saved yet, and submit again.",
            )
        if other > until:
            return job
    return None
