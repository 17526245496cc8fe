"""Slurm's commands sbatch, squeue, scontrol and scancel; their errors become one line."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from megatron_lrps.errors import RefusedError

_TIMEOUT_S = 60.0
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip
_DOWN = re.compile(r"down|drain|fail|maint|inval|unk|power|reboot", re.IGNORECASE)
_NOT_PLACED = "Requested node configuration is not available"


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The state of a job.

    Attributes:
        state: Slurm's word for it, such as ``PENDING``.
        reason: Why it waits, or how it ended; empty if Slurm gives no reason.
        name: The name of the job, because ids begin again when a cluster is set up anew.
        in_vain: Whether it waits for a job that will never succeed, so that Slurm is about to cancel it.
    """

    state: str
    reason: str
    name: str
    in_vain: bool = False

    @property
    def active(self) -> bool:
        """Whether it waits or runs, or will do so again."""
        return self.state not in _ENDED

    @property
    def held(self) -> bool:
        """Whether it waits to be released."""
        return self.state == "PENDING" and self.reason.startswith("JobHeld")


def job_states(ids: Iterable[str]) -> dict[str, JobState]:
    """Return the states of the jobs that Slurm still knows; it forgets a job minutes after its end (MinJobAge).

    Raises:
        RefusedError: Slurm cannot be asked.
    """
    wanted = ",".join(ids)
    if not wanted:
        return {}
    line = ["squeue", "--noheader", "--states=all", f"--jobs={wanted}", "--format=%i|%T|%r|%j"]
    done = _call(line)
    if done.returncode and "Invalid job id" not in done.stderr:
        raise RefusedError(f"Slurm does not answer squeue: {_said(done)}.", "see `scontrol ping`, then rerun.")
    states = {}
    for text in done.stdout.splitlines():
        number, state, reason, name = text.split("|", 3)
        states[number] = JobState(state=state, reason="" if reason == "None" else reason, name=name)
    return states


def held_jobs(names: Iterable[str]) -> dict[str, str]:
    """Return job id -> output file of this user's held jobs with these names. Raises RefusedError."""
    chosen = ["--me", "--states=PENDING", f"--name={','.join(names)}"]
    done = _call(["squeue", "--noheader", *chosen, "--Format=JobID:20,Reason:40,STDOUT:4096"])
    if done.returncode:
        raise RefusedError(f"Slurm does not answer squeue: {_said(done)}.", "see `scontrol ping`, then rerun.")
    rows = ((line[:20].strip(), line[20:60], line[60:].strip()) for line in done.stdout.splitlines())
    return {number: output for number, reason, output in rows if reason.startswith("JobHeld")}


def refuse_impossible(options: Sequence[str], script: str, nodes: int, partition: str | None) -> str:
    """Ask Slurm whether it could ever start such a job.

    Returns:
        What prevents a start at the moment, or an empty text.

    Raises:
        RefusedError: it could never start the job; the text is Slurm's own.
    """
    done = _call(["sbatch", "--test-only", *options, script])
    if done.returncode == 0:
        return ""
    said = _said(done)
    if _NOT_PLACED not in said:
        raise RefusedError(
            f"Slurm refuses launch.slurm: {said}.", "change launch.slurm; `sinfo` lists what the cluster has."
        )
    # Slurm says the same about a request that is too large and about nodes that are down at the moment.
    where = [f"--partition={partition}"] if partition else []
    states = _call(["sinfo", "--noheader", "--Node", *where, "--format=%N %T"]).stdout.splitlines()
    total = len({line.split()[0] for line in states})
    down = len({line.split()[0] for line in states if _DOWN.search(line.split()[1])})
    if nodes > total or not down:
        have = f"{partition or 'the cluster'} has {total} nodes"
        raise RefusedError(
            f"Slurm refuses launch.slurm: {said}; nodes is {nodes}, and {have}.", "ask for less in launch.slurm."
        )
    return f"Slurm cannot place the jobs now, because {down} of {total} nodes are not up; the jobs wait."


def refuse_missing_pyxis() -> None:
    """Refuse containers if srun has no option for them; raises RefusedError."""
    done = _call(["srun", "--help"])
    if "--container-image" not in done.stdout:
        raise RefusedError(
            "launch.slurm.container needs pyxis, but srun of this cluster has no option --container-image.",
            "ask the administrators for pyxis, or set container_runtime: apptainer.",
        )


def sbatch(options: Sequence[str], script: str, env: Mapping[str, str]) -> str:
    """Submit a job and return its id; raises RefusedError in sbatch's own words."""
    done = _call(["sbatch", "--parsable", *options, script], env)
    number = done.stdout.strip().split(";")[0]
    if done.returncode or not number.isdigit():
        raise RefusedError(f"Slurm refuses the job: {_said(done)}.", "change launch.slurm; nothing was submitted.")
    return number


def release(ids: Sequence[str]) -> None:
    """Release held jobs; raises RefusedError."""
    _change(["scontrol", "release", ",".join(ids)])


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs that wait or run; jobs that have ended stay as they are. Raises RefusedError."""
    _change(["scancel", *ids])


def _change(line: list[str]) -> None:
    done = _call(line)
    if done.returncode:
        raise RefusedError(f"{line[0]} failed: {_said(done)}.", "see `squeue --me`, then rerun.")


def _call(line: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    # In a job sbatch would take the size of that job as its default. SLURM_CONF is kept, because it names the cluster.
    inherited = {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or not key.startswith("SLURM_")}
    try:
        return subprocess.run(
            line,
            env={**inherited, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise RefusedError(
            f"{line[0]} is not on the PATH of this machine.", "run this on a login node of the cluster."
        ) from None
    except subprocess.TimeoutExpired as error:
        # sbatch waits and tries again by itself if the queue is full, and says so.
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        why = f": {said[-1].removeprefix('sbatch: error: ')}" if said else "."
        raise RefusedError(
            f"{line[0]} gave no answer in {_TIMEOUT_S:.0f} s{why}", "see `scontrol ping` and `squeue`, then rerun."
        ) from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """Return Slurm's reason, without the leading program name."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith("Try ")] or [f"exit code {done.returncode}"]
    texts = [re.sub(r"^(?:\w+: )?(?:error: )?", "", line).rstrip(".") for line in reasons]
    return "; ".join(dict.fromkeys(texts))
