"""The entry of a training process: it installs the CPU backend and the hooks, runs a script, and gives exit codes.

A rank that fails by itself leaves its reason in a file, since its launcher only sees that other ranks are killed.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from megatron_lrps.errors import EXIT_CONTINUE, EXIT_DONE, EXIT_FAILED, LrpsError
from megatron_lrps.processes import tie_children

FILE = "LRPS_FAILURE"
"""The environment variable that names the file for this start of the ranks."""
_LOST = ("gloo/transport", "NCCL", "TCPStore", "Connection closed by peer", "Connection reset by peer", "CUDA error")


def launch(script: Callable[[], None]) -> NoReturn:
    """Run ``script`` with the plugin registered and leave with a real exit code.

    Args:
        script: A function that parses ``sys.argv`` as Megatron's command line and trains.
    """
    code = _run(script)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the log may be on the disk that has failed
            stream.flush()
    if code not in (EXIT_DONE, None):
        # Other ranks may hang in a collective that this one will never join, and a clean interpreter
        # shutdown would wait for them: leave at once, so that the launcher sees the code and ends them.
        os._exit(code)
    sys.exit(EXIT_DONE)


def _run(script: Callable[[], None]) -> int:
    from megatron_lrps.training.megatron import hooks

    tie_children()
    try:
        gc.disable()  # imported objects stay: looking for garbage takes a tenth of a start
        hooks.install(cpu="--lrps-cpu" in sys.argv)
        gc.enable()
        script()
        hooks.finish()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else EXIT_DONE if leaving.code is None else EXIT_FAILED
        if code not in (EXIT_DONE, EXIT_CONTINUE):
            _leave_word(code, leaving)
        return code
    except LrpsError as error:
        with contextlib.suppress(OSError):  # the log may be on the disk that has failed
            print(f"lrps: {error}", file=sys.stderr)
        _leave_word(error.exit_code, error)
        return error.exit_code
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # torch's CheckpointException is no Exception
        failure = hooks.failure_of(error)
        code = failure.exit_code if failure else EXIT_FAILED
        _leave_word(code, failure or error)
        return code
    finally:
        hooks.let_go()
    return EXIT_DONE


def _leave_word(code: int, error: BaseException) -> None:
    """Write on one line how this rank failed, unless another rank has done so before."""
    file = os.environ.get(FILE)
    if not file or _others(error):
        return
    if isinstance(error, SystemExit) and isinstance(error.__cause__, LrpsError):
        error = error.__cause__  # a hook has said it, and ended the rank
    text = (str(error).splitlines() or [""])[0]
    line = f"{code} rank {os.environ.get('RANK', '0')}: {type(error).__name__}: {text}\n"
    # An error here: another rank was first, or the disk failed.
    with contextlib.suppress(OSError), Path(file).open("x", encoding="utf-8", errors="replace") as word:
        word.write(line)


def _others(error: BaseException) -> bool:
    """Whether the cause is a lost rank, link or GPU: then another start may succeed."""
    import torch

    cause: BaseException | None = error
    while cause is not None:
        said = isinstance(cause, RuntimeError | OSError) and any(words in str(cause) for words in _LOST)
        if said or isinstance(cause, torch.distributed.DistError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
