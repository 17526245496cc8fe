"""The begin of a process that a job's script starts beside its ranks: ``alert_guard`` and ``stop_guard``."""

from collections.abc import Callable
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import EXIT_FAILED, LrpsError


def guard(plan: str, name: str, watch: Callable[[Campaign, str], None], otherwise: str) -> int:
    """Watch over a path's ranks.

    Args:
        plan: The plan file.
        name: The path.
        watch: Watches, and returns once the ranks are killed.
        otherwise: What is not done if the plan cannot be read, for the job's log.

    Returns:
        The exit code.
    """
    try:
        watch(Campaign.open(Path(plan)), name)
    except LrpsError as error:
        say(f"{otherwise}: {error}")
        return EXIT_FAILED
    return 0


def say(text: str) -> None:
    """Print a line to the job's log."""
    print(f"lrps: {text}", flush=True)
