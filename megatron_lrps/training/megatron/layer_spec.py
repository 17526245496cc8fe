"""The layers that ``--spec`` names; what cannot be imported is refused, where Megatron would take its own instead."""

import importlib
from argparse import Namespace
from typing import Any

from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.entry_flags import spec_words


def layer_spec(args: Namespace) -> Any:
    """Return the specification of layers that ``--spec`` names; None if it is not given.

    Raises:
        RefusedError: there is no such module or name, or it is not a specification of GPT's layers.
    """
    if args.spec is None:
        return None
    module, name = spec_words(args.spec, "--")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise RefusedError(f"--spec {module} {name} cannot be imported: {error}.", _FIX) from None
    except AttributeError:
        raise RefusedError(f"--spec {module} {name}: the module has no {name}.", "correct its name.") from None
    if not isinstance(found, ModuleSpec | TransformerBlockSubmodules):
        raise RefusedError(
            f"--spec {module} {name} is a {type(found).__name__}, not a ModuleSpec or TransformerBlockSubmodules.",
            "name an object of one of these, not the function that makes it.",
        )
    return found


_FIX = "correct its name, or set PYTHONPATH on every node to the folder that it is in."
