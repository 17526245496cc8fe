"""Megatron's arguments out of a checkpoint, without Megatron and without running anything that a pickle asks for."""

import io
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from typing import IO, Any


class Opaque:
    """Stands in for every class, function and enumeration of a pickle but the plainest: it does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """A list's, of a subclass."""

    def extend(self, values: Any) -> None:
        """A list's, of a subclass."""


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
        file: At its start, seekable.

    Returns:
        By destination; what is no plain value is an ``Opaque``.

    Raises:
        Exception: of any kind, where it is something else.
    """
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        state = _Reader(io.BytesIO(archive.read(name))).load()
    while isinstance(state, list) and len(state) == 1:  # a sharded object is saved as a list of one
        state = state[0]
    return dict(vars(state["args"]))
