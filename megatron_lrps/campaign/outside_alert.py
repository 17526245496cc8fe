"""An alert that is judged outside of the ranks: an event in the path's history, and a call of the plan's hook."""

import contextlib
import threading
from collections.abc import Callable, Mapping

from megatron_lrps.campaign.alert_hook import hook_facts, run_hook
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.record import log_event
from megatron_lrps.errors import StorageError

KINDS = ("stall", "straggler")
"""The kinds of alerts that no rank raises itself."""


def raise_alert(
    campaign: Campaign,
    name: str,
    kind: str,
    message: str,
    say: Callable[[str], None],
    *,
    iteration: int,
    values: Mapping[str, float],
) -> None:
    """Record an alert of a path and tell the hook, in a thread that the end of this process waits for.

    Args:
        campaign: The campaign.
        name: The path.
        kind: One of ``KINDS``.
        message: The alert in words.
        say: Prints a line, if the hook fails.
        iteration: The last iteration that was trained.
        values: The numbers by name.
    """
    facts = {"kind": kind, "message": message, "values": dict(values)}
    folder, plan = campaign.folder.path(name), campaign.plan
    with contextlib.suppress(StorageError):  # a full disk takes no alert; the terminal has it
        log_event(folder, "alert", iteration=iteration, **facts)
    if not plan.alerts.hook:
        return
    told = hook_facts(plan, name, iteration, facts)

    def tell() -> None:
        if (failure := run_hook(plan.alerts.hook, told, plan.folder, plan.alerts)) is not None:
            say(f"{name}: {failure}")
            with contextlib.suppress(StorageError):
                log_event(folder, "hook_failed", iteration=iteration, message=failure)

    threading.Thread(target=tell, name=f"{kind} hook").start()
