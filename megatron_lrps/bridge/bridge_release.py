"""The installed Megatron-Bridge: its version, and whether it has what a path needs. Nothing of it is changed."""

import importlib
import os
import re
import sys

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.names import Name

OLDEST, NEWEST = (0, 4), (0, 6)
"""The releases that the tests compare with."""
LOOP = "Megatron-Bridge"
_FIX = "install megatron-bridge 0.4, 0.5 or 0.6."
_TRAINING = "megatron.bridge.training"
GATHER_ITEM = Name(f"{_TRAINING}.utils.sig_utils", "all_gather_item", ("item", "dtype"))
_MANAGER = f"{_TRAINING}.checkpointing"
_CALLED = (
    GATHER_ITEM,
    Name(_MANAGER, "DefaultCheckpointManager", ("checkpoint_config",)),
    Name(_MANAGER, "DefaultCheckpointManager.save", ("ctx",)),
    Name(_MANAGER, "DefaultCheckpointManager.load", ("ctx",)),
    Name(_MANAGER, "DefaultCheckpointManager.finalize_async_saves", ("state", "blocking", "terminate")),
    Name(f"{_TRAINING}.config", "DatasetProvider.build_datasets", ("context",)),
    Name(f"{_TRAINING}.callbacks", "normalize_callbacks", ("callbacks",)),
)
"""What is called or inherited, with the parameters that it relies on."""


def refuse_unknown_bridge() -> tuple[int, int]:
    """Refuse a Megatron-Bridge that does not fit; a newer one that does is tried with a warning.

    Returns:
        Its series, such as (0, 6).

    Raises:
        RefusedError: if it cannot be imported, is too old, or has other signatures.
    """
    try:
        version = str(importlib.import_module("megatron.bridge.package_info").__version__)
    except ImportError as error:
        raise RefusedError(f"Megatron-Bridge cannot be imported: {error}.", _FIX) from None
    found = re.match(r"(\d+)\.(\d+)", version)
    series = (int(found[1]), int(found[2])) if found else (0, 0)
    if series < OLDEST:
        raise RefusedError(f"megatron-bridge is {version}, and a path needs 0.4 or later.", _FIX)
    for name in _CALLED:
        name.check(version, _FIX, "megatron-bridge")
    if series > NEWEST and os.environ.get("RANK", "0") == "0":
        print(
            f"lrps: megatron-bridge {version} is newer than the releases that this version of Megatron-LRPS is tested "
            "with (to 0.6.x). All that it uses is there and takes the same parameters, so it goes on; compare a "
            "branch's learning rates with those of lrps lr, or look for a newer megatron-lrps.",
            file=sys.stderr,
            flush=True,
        )
    return series


def admit(prefix: str) -> None:
    """Let Bridge's config name classes of this package, which releases from 0.6 on allow of listed packages alone."""
    utilities = importlib.import_module("megatron.bridge.utils.instantiate_utils")
    if (register := getattr(utilities, "register_allowed_target_prefix", None)) is not None:
        register(prefix)
