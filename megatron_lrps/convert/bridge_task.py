"""What is asked of ``bridge_worker.py``, the process in which Megatron-Bridge works."""

import json
from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.helper_process import OFFLINE, python_lines
from megatron_lrps.errors import RefusedError


def run_worker(task: Mapping[str, Any]) -> dict[str, Any]:
    """Let ``bridge_worker.py`` do a task; raises RefusedError, and LrpsError if Bridge fails."""
    failed = "Megatron-Bridge could not convert the model"
    lines = list(
        python_lines(
            ["-m", "megatron_lrps.convert.bridge_worker"], given=task, env=OFFLINE, failed=failed, fix="fix that."
        )
    )
    answer: dict[str, Any] = json.loads(lines[-1])
    if "refused" in answer:
        raise RefusedError(*answer["refused"])
    return answer
