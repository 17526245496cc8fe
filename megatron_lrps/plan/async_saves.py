"""What asynchronous saves need beside ``async-save``: a writer that stays, and for ``nvrx`` NVIDIA's library. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import PlanError, RefusedError

NVRX = "nvidia-resiliency-ext"
"""The distribution that megatron-core's strategy ``nvrx`` needs."""
MCORE = "megatron-core"
_LEAST = (0, 6)
_WITHOUT = "set async-strategy: mcore and use-persistent-ckpt-worker: true, or remove async-save"


def refuse_ignored_async_save(flags: Mapping[str, Any], prefix: str) -> None:
    """Refuse asynchronous saves that Megatron would make synchronous ones, with a warning in the log.

    Args:
        flags: Flag without its dashes -> value.
        prefix: The prefix of a flag in messages: ``megatron.`` or ``--``.

    Raises:
        PlanError: naming both flags.
    """
    if flags.get("async-save") is True and flags.get("use-persistent-ckpt-worker") is not True:
        raise PlanError(
            f"{prefix}async-save is given without {prefix}use-persistent-ckpt-worker: Megatron would then "
            "save synchronously.",
            f"add {prefix}use-persistent-ckpt-worker, or remove {prefix}async-save.",
        )


def needs_nvrx(flags: Mapping[str, Any]) -> bool:
    """Whether these flags, without their dashes, let Megatron save by NVIDIA's library; that is its default."""
    return flags.get("async-save") is True and flags.get("async-strategy", "nvrx") == "nvrx"


def is_old_nvrx(version: str) -> bool:
    """Whether a version of the library is too old for megatron-core."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _LEAST


def installed(distribution: str) -> str | None:
    """Return the version of a distribution in this Python; None if it is not there."""
    import importlib.metadata  # takes longer to import than most commands take

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def refuse_without_nvrx(flags: Mapping[str, Any], megatron: str | None, nvrx: str | None) -> None:
    """Refuse what ends in a traceback of megatron-core: its strategy without the library, or an old library beside it.

    Args:
        flags: Flag without its dashes -> value.
        megatron: The version of megatron-core where the ranks run; None if it is not there. 0.16 has no strategies.
        nvrx: The version of the library there; None if it is not there.

    Raises:
        RefusedError: naming the versions and the fix.
    """
    if megatron is None or megatron.startswith("0.16."):
        return
    if nvrx is not None and is_old_nvrx(nvrx):
        raise RefusedError(
            f"{NVRX} is {nvrx}, and megatron-core {megatron} does not start beside a version before 0.6.",
            f"pip uninstall {NVRX}, or use a NeMo container, which has 0.6 or newer.",
        )
    if nvrx is None and needs_nvrx(flags):
        raise RefusedError(
            f"async-save is given, and its strategy nvrx, Megatron's default, needs {NVRX} 0.6 or newer, which is not "
            "installed.",
            f"{_WITHOUT}; or use a NeMo container, which has it (package indexes end at 0.4.1).",
        )
