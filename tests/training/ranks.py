"""Ranks as processes that need not import Megatron: each is forked off a server that has, and runs its own program.

Starting Python and importing torch and Megatron takes longer than what most tests train. What is the process's own is
done by each rank itself: the hooks, the processes of the CPU backend. Tests of `lrps run` start ranks as users do.
"""

import atexit
import multiprocessing
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_ADDED = (_TESTS.parent, _TESTS)
"""What pytest adds to ``sys.path``."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.training.preloaded"])


@contextmanager
def started_ranks(
    code: str,
    arguments: Sequence[str],
    logs: Sequence[Path],
    *,
    world_size: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[list[ForkServerProcess]]:
    """Start what ``python -c code arguments`` would run, once per rank; kill at the end what still runs.

    Args:
        code: The program.
        arguments: Its ``sys.argv`` but the first.
        logs: One file per rank, which gets its standard output and error.
        world_size: If not the number of logs: for a fake process group.
        env: Environment variables to add; what torch reads when it is imported it has from this process's.
        cwd: The working directory.

    Yields:
        The processes; an ``exitcode`` is that of Python, or minus the signal that ended it.
    """
    common = {
        "WORLD_SIZE": str(world_size or len(logs)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "CUDA_VISIBLE_DEVICES": "",
    }
    processes: list[ForkServerProcess] = []
    try:
        for rank, log in enumerate(logs):
            environment = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank), **(env or {})}
            values = (code, list(arguments), str(log), environment, str(cwd or Path.cwd()))
            processes.append(_server.Process(target=_run, args=values))
            processes[-1].start()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago, below those that connections take for themselves."""
    while True:
        port = 10_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _run(code: str, arguments: list[str], log: str, env: dict[str, str], cwd: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)
    os.chdir(cwd)
    forkserver._forkserver.__init__()  # type: ignore[misc]  # writers are not forked off this server, but off the rank's
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-c", *arguments]
    sys.path[:] = ["", *(entry for entry in sys.path if entry and Path(entry) not in _ADDED)]  # as `python -c` has it
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # which the end of a forked process leaves out
