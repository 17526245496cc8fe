"""Megatron's arguments in a checkpoint, read without Megatron and without running code that a pickle names."""

import io
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from typing import IO, Any


class Opaque:
    """Stands for all but the plainest classes and functions that a pickle names. It does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """What a pickle calls on a subclass of list."""

    def extend(self, values: Any) -> None:
        """What a pickle calls on a subclass of list."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return {("argparse", "Namespace"): Namespace, ("collections", "OrderedDict"): OrderedDict}.get(
            (module, name), Opaque
        )

    def persistent_load(self, pid: Any) -> Any:
        return Opaque()


def read_args(file: IO[bytes]) -> dict[str, Any]:
    """The arguments in what ``torch.save`` wrote of Megatron's common state.

    Args:
        file: A seekable file, at its start.

    Returns:
        The arguments by destination. A value that is not plain is an ``Opaque``.

    Raises:
        Exception: of any kind, if the file is something else.
    """
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        state = _Reader(io.BytesIO(archive.read(name))).load()
    while isinstance(state, list) and len(state) == 1:  # a sharded object is saved as a list of one
        state = state[0]
    return dict(vars(state["args"]))
