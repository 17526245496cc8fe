"""The entry of a training process: it installs the CPU backend and the hooks, runs a script, and gives exit codes."""

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from megatron_lrps.errors import EXIT_CONTINUE, EXIT_DONE, EXIT_FAILED, LrpsError
from megatron_lrps.processes import show_stacks, tie_children
from megatron_lrps.training.failure_word import leave_word


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
    show_stacks()
    try:
        gc.disable()  # imported objects stay: looking for garbage takes a tenth of a start
        hooks.install(cpu="--lrps-cpu" in sys.argv)
        gc.enable()
        script()
        hooks.finish()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else EXIT_DONE if leaving.code is None else EXIT_FAILED
        if code not in (EXIT_DONE, EXIT_CONTINUE):
            leave_word(code, leaving)
        return code
    except LrpsError as error:
        with contextlib.suppress(OSError):  # the log may be on the disk that has failed
            print(f"lrps: {error}", file=sys.stderr)
        leave_word(error.exit_code, error)
        return error.exit_code
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # torch's CheckpointException is no Exception
        failure = hooks.failure_of(error)
        code = failure.exit_code if failure else EXIT_FAILED
        leave_word(code, failure or error)
        return code
    finally:
        hooks.let_go()
    return EXIT_DONE
