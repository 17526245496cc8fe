"""The alert of a stall: an event in the path's history, and a call of the plan's hook."""

import contextlib
import threading
from collections.abc import Callable

from megatron_lrps.campaign.alert_hook import hook_facts, run_hook
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.record import log_event
from megatron_lrps.campaign.stall import KIND, Stall
from megatron_lrps.errors import StorageError


def raise_alert(campaign: Campaign, name: str, stall: Stall, message: str, say: Callable[[str], None]) -> None:
    """Record a path's stall and tell the hook, in a thread that the end of this process waits for.

    Args:
        campaign: The campaign.
        name: The path.
        stall: Its stall.
        message: The stall in words.
        say: Prints a line, if the hook fails.
    """
    facts = {"kind": KIND, "message": message, "values": {"seconds": stall.seconds, "limit": stall.limit}}
    folder, plan = campaign.folder.path(name), campaign.plan
    with contextlib.suppress(StorageError):  # a full disk takes no alert; the terminal has it
        log_event(folder, "alert", iteration=stall.iteration, **facts)
    if not plan.alerts.hook:
        return
    told = hook_facts(plan, name, stall.iteration, facts)

    def tell() -> None:
        if (failure := run_hook(plan.alerts.hook, told, plan.folder, plan.alerts)) is not None:
            say(f"{name}: {failure}")
            with contextlib.suppress(StorageError):
                log_event(folder, "hook_failed", iteration=stall.iteration, message=failure)

    threading.Thread(target=tell, name="stall hook").start()
