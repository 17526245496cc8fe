"""Ranks as processes that need not import torch: each is forked off a server that has, and runs a program of its own.

Starting Python and importing torch takes longer than what most tests train. Megatron and the plugin are imported by
each rank itself, as the CPU backend must come before them.
"""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_ADDED = (_TESTS.parent, _TESTS)
"""What pytest adds to ``sys.path``."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.training.preloaded"])


def start_rank(
    code: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | None = None
) -> ForkServerProcess:
    """Start what ``python -c code arguments`` would run.

    Args:
        code: The program.
        arguments: Its ``sys.argv`` but the first.
        log: Gets its standard output and error.
        env: Its environment, whole; what torch reads when it is imported it has from this process's.
        cwd: Its working directory.

    Returns:
        The process; its ``exitcode`` is that of Python, or minus the signal that ended it.
    """
    process = _server.Process(target=_run, args=(code, list(arguments), str(log), dict(env), str(cwd or Path.cwd())))
    process.start()
    return process


def _run(code: str, arguments: list[str], log: str, env: dict[str, str], cwd: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-c", *arguments]
    sys.path[:] = ["", *(entry for entry in sys.path if entry and Path(entry) not in _ADDED)]  # as `python -c` has it
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # which the end of a forked process leaves out
