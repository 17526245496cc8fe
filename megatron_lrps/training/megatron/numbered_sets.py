"""Names for validation sets in releases of Megatron that number them: in TensorBoard, and in what is printed."""

import contextlib
import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from megatron_lrps.training.megatron.patching import set_meanwhile

_NUMBERED = re.compile(r"(?<= validation-)\d+")


class _NamingWriter:
    """Megatron's writer of TensorBoard, asked for everything but the names of figures."""

    def __init__(self, writer: Any, names: Sequence[str]) -> None:
        self._writer, self._names = writer, names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def add_scalar(self, tag: str, *args: Any, **kwargs: Any) -> None:
        """Write a figure under its set's name."""
        self._writer.add_scalar(_named(tag, self._names), *args, **kwargs)


@contextlib.contextmanager
def named_sets(names: Sequence[str] | None) -> Iterator[None]:
    """Give the sets their names in the block, in which Megatron evaluates them; None leaves them their numbers."""
    if not names:
        yield
        return
    training = vars(importlib.import_module("megatron.training.training"))
    tell, writer_of = training["print_rank_last"], training["get_tensorboard_writer"]

    def writer() -> Any:
        found = writer_of()
        return None if found is None else _NamingWriter(found, names)

    with (
        set_meanwhile(training, "print_rank_last", lambda text: tell(_named(text, names))),
        set_meanwhile(training, "get_tensorboard_writer", writer),
    ):
        yield


def _named(text: str, names: Sequence[str]) -> str:
    return _NUMBERED.sub(lambda number: names[int(number[0])], text)
