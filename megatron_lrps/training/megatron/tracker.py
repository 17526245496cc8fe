"""Megatron's tracker, which it writes last in a save: a checkpoint counts once it is written."""

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.checkpoint import TRACKER


class TrackerWriter:
    """A stand-in for Megatron's file access: a tracker that is written to ``own`` becomes a commit.

    Args:
        files: Megatron's own, asked for everything else; up to release 0.18 it is the function that opens a file.
        own: The path's ``--save`` folder.
        commit: Called with the iteration that Megatron wrote.
    """

    def __init__(self, files: Any, own: Path, commit: Callable[[int], None]) -> None:
        self._files, self._own, self._commit = files, own, commit
        self._open = files if inspect.isfunction(files) else files.open

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def open(self, path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Open a file as Megatron does, unless it is the tracker to be written."""
        if "w" in mode and Path(path) == self._own / TRACKER:
            return _Commit(self._commit)
        return self._open(path, mode, *args, **kwargs)

    __call__ = open


class _Commit(io.StringIO):
    """A tracker being written: its iteration counts once it is closed without an error."""

    def __init__(self, commit: Callable[[int], None]) -> None:
        super().__init__()
        self._commit = commit

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self._commit(int(self.getvalue()))
        self.close()
