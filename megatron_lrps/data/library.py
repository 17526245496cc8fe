"""Imports the libraries that only some data need, and says how to install one that is missing."""

import importlib
from typing import Any

from megatron_lrps.errors import RefusedError


def library(name: str, fix: str) -> Any:
    """Import the Python package ``name``. Raises RefusedError with ``fix`` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RefusedError(f"The Python package {name} is not installed.", fix) from error
