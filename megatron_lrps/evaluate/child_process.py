"""Work that wants torch in a process of its own, so that nothing of it stays, and no state is shared."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from megatron_lrps.errors import LrpsError
from megatron_lrps.processes import tie_to

_SHOWN = 400


def python_lines(arguments: Sequence[str], *, given: str, env: Mapping[str, str], who: str) -> Iterator[str]:
    """Run ``python ARGUMENTS``; each line of its output, as it comes. It ends with this process.

    Args:
        arguments: After the interpreter's name.
        given: What it reads on stdin.
        env: Variables besides this process's.
        who: What to call it in an error.

    Raises:
        LrpsError: it fails, with the last line it said.
    """
    parent = os.getpid()
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        with subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            errors="replace",
            env={**os.environ, "TRANSFORMERS_VERBOSITY": "error", **env},
            preexec_fn=lambda: tie_to(parent),
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(given)
                process.stdin.close()
            except BrokenPipeError:  # it has failed already, and says why
                pass
            yield from process.stdout
            code = process.wait()
        if code:
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()]
            reason = lines[-1] if lines else f"exit code {code}"
            raise LrpsError(f"{who} failed: {reason[:_SHOWN]}.", "fix that, then rerun; what was done is kept.")
