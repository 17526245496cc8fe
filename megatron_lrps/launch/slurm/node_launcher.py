"""Starts the ranks of one node of a Slurm job by ``ft_launcher``; srun starts it once on each node.

``python -m megatron_lrps.launch.slurm.node_launcher PLAN RANKS MODULE ARGUMENTS`` starts so many ranks here, which run
the module. It ends with 1 if a rank fails or is killed, whatever that rank's code was.
"""

import os
import runpy
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from megatron_lrps.errors import LrpsError
from megatron_lrps.launch.ft_launcher import MODULE, limits, refuse_without_ft_launcher
from megatron_lrps.plan import Plan, load_plan
from megatron_lrps.training.failure_word import leave_word

_EXIT_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
_OF_THE_STEP = (*_EXIT_SIGNALS, signal.SIGTERM)
"""What Slurm sends to every process of a step, so that its ranks save; SIGTERM is that of a requeue by hand."""


def main(arguments: list[str]) -> int:
    """Start the ranks and wait for their end; the arguments are those above.

    Returns:
        The exit code of a refusal; ``ft_launcher`` itself ends the process.
    """
    plan, ranks, *command = arguments
    try:
        loaded = load_plan(Path(plan))
        refuse_without_ft_launcher(loaded)
    except LrpsError as error:
        print(f"lrps: {error}", file=sys.stderr)
        leave_word(error.exit_code, error)  # srun's own code may be that of another node, which is killed for this one
        return error.exit_code
    _leave_signals_to_the_ranks()
    sys.argv[1:] = [*options(loaded, int(ranks), os.environ), "--module", *command]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
    return 0


def options(plan: Plan, ranks: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return ``ft_launcher``'s options on one node of a job.

    Args:
        plan: The plan.
        ranks: The number of ranks on each node.
        environment: Slurm's variables of this task, and those of ``slurm/lib.sh``.
    """
    first = environment["SLURM_NODEID"] == "0"
    job = f"{environment['SLURM_JOB_ID']}-{environment.get('SLURM_RESTART_COUNT', '0')}"
    return (
        *("--nnodes", environment["SLURM_NNODES"], "--nproc-per-node", str(ranks), "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}", "--rdzv-id", job),
        # Otherwise each node compares the address with its own names, of which some clusters have several.
        *("--rdzv-conf", f"is_host={int(first)}", "--log-dir", os.devnull),
        *limits(plan),
    )


def _leave_signals_to_the_ranks() -> None:
    """Let the monitors outlive signals that Slurm sends to every process of a step, and the launcher exit signals.

    A handler of this process is none in a rank, which is another program. The monitors are forks of this one that would
    end on each of these signals, and ranks without their monitors fail instead of saving.
    """
    for number in _EXIT_SIGNALS:
        signal.signal(number, lambda *_: None)
    os.register_at_fork(after_in_child=_obey_the_launcher_alone)


def _obey_the_launcher_alone() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_STEP)
    threading.Thread(target=_end_with_the_launcher, args=(os.getppid(),), daemon=True).start()


def _end_with_the_launcher(launcher: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != launcher:
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
