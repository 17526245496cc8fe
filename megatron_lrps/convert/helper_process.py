"""Work in a separate Python process, whose libraries may print, keep memory and hold state freely."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from megatron_lrps.errors import LrpsError
from megatron_lrps.processes import tie_to

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Variables that keep transformers from asking the Hugging Face Hub."""
ON_CPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Variables for Megatron's CPU backend, which refuses a machine whose GPU it can see."""
_SHOWN = 400


def python_lines(
    arguments: Sequence[str],
    *,
    given: Any = None,
    env: Mapping[str, str],
    failed: str,
    fix: str = "fix that, then rerun; what was done is kept.",
) -> Iterator[str]:
    """Run ``python ARGUMENTS``, and give each line of its output as it comes. The process ends with this one.

    Args:
        arguments: The arguments after the interpreter's name.
        given: The JSON that the process reads on stdin.
        env: Variables besides those of this process.
        failed: The beginning of the error, such as ``lm-eval failed``.
        fix: The fix of the error.

    Raises:
        LrpsError: the process fails; the error says the last line of its stderr.
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
            with contextlib.suppress(BrokenPipeError):  # it has failed already, and says why
                process.stdin.write("" if given is None else json.dumps(given))
                process.stdin.close()
            yield from process.stdout
            code = process.wait()
        if code:
            said.seek(0)
            lines = [line.strip() for line in said if line.strip()]
            reason = lines[-1] if lines else f"exit code {code}"
            raise LrpsError(f"{failed}: {reason[:_SHOWN]}.", fix)
