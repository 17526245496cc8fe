"""Plans as tests write them: a small base, and what a test puts over it."""

from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.errors import EXIT_REFUSED, PlanError
from megatron_lrps.plan import Plan, Tree, expand, parse_plan

BASE = Path("/campaigns")
HEAD = "campaign: c\nsave: s\nsequence_length: 16\nglobal_batch_size: 8\n"
PLAN = HEAD + "versions: [{name: v1, iters: 1000}]\n"
"""The shortest plan."""


def versions(*iterations: int, **keys: Any) -> list[dict[str, Any]]:
    """v1, v2, ... of so many iterations."""
    return [{"name": f"v{number}", "iters": size, **keys} for number, size in enumerate(iterations, 1)]


def plan_dict(**keys: Any) -> dict[str, Any]:
    """A plan of two versions of 1000 iterations, 8 samples of 16 tokens each; None takes a key away."""
    data: dict[str, Any] = {
        "campaign": "c",
        "save": "runs/c",
        "lr": {"max": 3.0e-4, "min": 3.0e-5},
        "sequence_length": 16,
        "global_batch_size": 8,
        "versions": versions(1000, 1000),
        **keys,
    }
    return {key: value for key, value in data.items() if value is not None}


def plan_of(**keys: Any) -> Plan:
    return parse_plan(yaml.safe_dump(plan_dict(**keys), sort_keys=False), base=BASE)


def tree_of(**keys: Any) -> Tree:
    return expand(plan_of(**keys))


def assert_one_clear_line(error: PlanError, *parts: str) -> None:
    """A refusal is one line with what is wrong and the fix, and has exit code 78."""
    text = str(error)
    assert "\n" not in text
    assert "\r" not in text
    assert error.exit_code == EXIT_REFUSED == 78
    assert error.fix
    assert len(text) < 400
    assert [part for part in parts if part not in text] == [], text
