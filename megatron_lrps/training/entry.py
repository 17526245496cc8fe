"""What comes before and after a training script in its process: CPU backend, hooks, exit codes."""

import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from megatron_lrps.errors import EXIT_DONE, EXIT_FAILED, EXIT_STORAGE, LrpsError


def launch(script: Callable[[], None]) -> NoReturn:
    """Run ``script`` with the plugin registered and leave with a real exit code.

    Args:
        script: Parses ``sys.argv`` as Megatron's command line and trains.
    """
    code = _run(script)
    sys.stdout.flush()
    sys.stderr.flush()
    if code not in (EXIT_DONE, None):
        # Other ranks may hang in a collective that this one will never join, and a clean interpreter
        # shutdown would wait for them: leave at once, so that the launcher sees the code and ends them.
        os._exit(code)
    sys.exit(EXIT_DONE)


def _run(script: Callable[[], None]) -> int:
    try:
        from megatron_lrps.training import hooks

        hooks.install(cpu="--lrps-cpu" in sys.argv)
        script()
        hooks.finish()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else EXIT_DONE if leaving.code is None else EXIT_FAILED
    except LrpsError as error:
        print(f"lrps: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        traceback.print_exc()
        return EXIT_STORAGE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS) else EXIT_FAILED
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED
    return EXIT_DONE
