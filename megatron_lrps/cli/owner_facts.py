"""Who trains a path now, as ``lrps status --json`` and ``lrps show --json`` give it."""

from typing import Any

from megatron_lrps.storage.owner import UNKNOWN, Owner


def owner_facts(owner: Owner | None) -> dict[str, Any] | None:
    """None if nobody trains the path; every value is null if the owner's record cannot be read."""
    if owner is None:
        return None
    keys = ("host", "pid", "job", "restart", "since")
    return {key: None if owner == UNKNOWN else getattr(owner, key) for key in keys}
