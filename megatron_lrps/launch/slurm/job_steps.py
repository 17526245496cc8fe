"""The steps of the job that this process runs in: its ranks, without the shell of its script."""

import contextlib
import os
import signal
import subprocess
import time

from megatron_lrps.plan.keys.slurm_job import seconds_of

SRUN = "LRPS_SRUN"
"""The environment variable with the process of srun that has started the ranks."""
_SRUN_S = 60.0
"""The seconds that srun has to end after its ranks: it waits for ever for a node that has lost them."""


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
    """Kill the job's steps, and srun if it does not end; the job's script goes on, and ends this process."""
    for step in job_steps():
        _scancel("KILL", step)
    if srun := os.environ.get(SRUN):
        time.sleep(_SRUN_S)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(srun), signal.SIGKILL)


def seconds_left() -> int | None:
    """Return the seconds until the job's time limit; None if it has none."""
    return seconds_of(_squeue("--format=%L").strip()) or None


def _squeue(*options: str) -> str:
    asked = ["squeue", "--noheader", f"--jobs={os.environ['SLURM_JOB_ID']}", *options]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def _scancel(name: str, job: str) -> None:
    subprocess.run(["scancel", f"--signal={name.removeprefix('SIG')}", job], check=False)
