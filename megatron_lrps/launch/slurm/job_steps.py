"""The steps of the job that this process runs in: its ranks, without the shell of its script."""

import os
import subprocess

from megatron_lrps.plan.keys.slurm_job import seconds_of


def job_steps() -> list[str]:
    """Return the ids of the job's steps."""
    found = _squeue("--steps", "--format=%i").split()
    return [step for step in found if step.rpartition(".")[2].isdigit()]


def signal_steps(name: str) -> None:
    """Send a signal to all processes of the job's steps.

    Args:
        name: The signal, as ``SIGUSR1`` or ``USR1``.
    """
    # Without --batch or --full it is for the steps alone.
    _scancel(name, os.environ["SLURM_JOB_ID"])


def kill_steps() -> None:
    """Kill the job's steps; its script goes on."""
    for step in job_steps():
        _scancel("KILL", step)


def seconds_left() -> int | None:
    """Return the seconds until the job's time limit; None if it has none."""
    return seconds_of(_squeue("--format=%L").strip()) or None


def _squeue(*options: str) -> str:
    asked = ["squeue", "--noheader", f"--jobs={os.environ['SLURM_JOB_ID']}", *options]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _scancel(name: str, job: str) -> None:
    subprocess.run(["scancel", f"--signal={name.removeprefix('SIG')}", job], check=False)
