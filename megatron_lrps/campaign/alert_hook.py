"""The plan's ``alerts.hook``: a program that is told of an alert, whoever raises it."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.plan.model import Plan

SAID = 500
"""The most characters of a message that are kept."""


def hook_facts(plan: Plan, path: str, iteration: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a hook is told of an alert now: when, where, and the alert's own facts."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    where = {"campaign": plan.campaign, "path": path, "save": str(plan.folder)}
    return {"time": now, **where, "iteration": iteration, **facts}


def run_hook(command: Sequence[str], facts: Mapping[str, Any], folder: Path, rules: Alerts) -> str | None:
    """Run the hook to its end in ``folder``, and return what went wrong; None if nothing did.

    Args:
        command: The program and its arguments; no shell sees them.
        facts: Given as JSON on standard input; texts and numbers are also ``LRPS_ALERT_<KEY>`` in its environment.
        folder: The working directory.
        rules: The plan's rules, with the ``hook_timeout``.
    """
    known = {
        f"LRPS_ALERT_{key.upper()}": str(value) for key, value in facts.items() if isinstance(value, str | int | float)
    }
    name = f"alerts.hook {command[0]}"
    try:
        # Files, not pipes: whatever it reads, leaves or starts, nobody waits at the other end.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(dict(facts)).encode())
            given.seek(0)
            process = subprocess.Popen(
                command, stdin=given, stdout=said, stderr=said, cwd=folder, env={**os.environ, **known},
                start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(rules.hook_timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return f"{name} was killed after {rules.hook_timeout:g} s"
            if code == 0:
                return None
            said.seek(0)
            lines = said.read(1 << 20).decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
            return f"{name} ended with {code}: {last.strip()[:SAID]}"
    except (OSError, ValueError) as error:
        return f"{name} could not be run: {error}"
