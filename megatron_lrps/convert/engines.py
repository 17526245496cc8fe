"""The engines of an export and an import: Megatron-LRPS's own conversion, and Megatron-Bridge's. Imports nothing."""

from importlib.util import find_spec
from typing import Literal, get_args

from megatron_lrps.errors import RefusedError

Engine = Literal["lrps", "bridge"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
"""The values of ``--engine``."""


def engine_named(name: str | None) -> Engine | None:
    """Return the engine of ``--engine``, None if it is not given; raises RefusedError if it is unknown."""
    if name is None:
        return None
    found = next((each for each in ENGINES if each == name), None)
    if found is None:
        raise RefusedError(f"--engine {name} is unknown.", f"give one of {', '.join(ENGINES)}.")
    return found


def has_bridge() -> bool:
    """Whether Megatron-Bridge is installed."""
    return find_spec("megatron") is not None and find_spec("megatron.bridge") is not None


def refuse_no_bridge() -> None:
    """Refuse a machine without Megatron-Bridge; raises RefusedError."""
    if not has_bridge():
        raise RefusedError(
            "Megatron-Bridge is not installed.",
            "run this in a NeMo container, or where megatron-bridge 0.4 to 0.6 is installed with Transformer Engine.",
        )
