"""A checkpoint counts once it is on disk and its manifest says what it holds; only then is anybody told.

Megatron writes its tracker file last, after a synchronous save and in the finalization of an asynchronous one.
That moment is taken as the commit (``training/megatron/tracker.py``).
"""

import shutil
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch

from megatron_lrps.campaign.checkpoint import TRACKER, Checkpoint, Checkpoints, being_saved
from megatron_lrps.campaign.manifest import MANIFEST, Manifest, take_hashes, take_sizes
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.errors import LrpsError, StorageError
from megatron_lrps.storage.files import sync, write_atomic
from megatron_lrps.training.path_record import write_path_record
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.storage_failure import storage_error

_LOOK_S = 5.0
"""The seconds between two looks at what is hashed."""
STOP_S = 15.0
"""The seconds that hashing may take at an early end, since a launcher kills after half a minute."""


class Committer:
    """Rank 0's part in a save: commits a checkpoint, and hashes it while training goes on.

    Args:
        path: The path that this process trains.
        args: Megatron's arguments.
        identity: The identity of the path's data and tokenizer; None without a plan.
        saved: Called with the iteration of a checkpoint once it counts.
    """

    def __init__(
        self, path: PathToTrain, args: Namespace, identity: Identity | None, saved: Callable[[int], None]
    ) -> None:
        self._path, self._args, self._identity, self._saved = path, args, identity, saved
        self._hashing: list[threading.Thread] = []
        self._hashed = 0
        self._begun: dict[int, float] = {}
        self._recording = threading.Lock()

    def begin(self, iteration: int) -> None:
        """Note that a save begins."""
        self._begun = {iteration: time.monotonic()}

    def commit(self, iteration: int) -> None:
        """Make a finished checkpoint count: sizes, then the tracker, then the news; raises StorageError."""
        own, folder = self._path.own, Checkpoint(self._path.own, iteration).folder
        try:
            manifest = take_sizes(folder)
            sync(folder)
            being_saved(folder).unlink(missing_ok=True)
            write_atomic(own / TRACKER, str(iteration))
        except (OSError, StorageError) as error:
            if (behind := storage_error(error, own)) is None:
                raise
            raise behind from error
        took = {"seconds": round(time.monotonic() - since, 1)} if (since := self._begun.get(iteration)) else {}
        self._path.log("saved", iteration=iteration, **took)
        self._saved(iteration)
        # Neither the hashes nor the record may hold training up.
        thread = threading.Thread(target=self._hash, args=(folder, manifest), name=f"hash {iteration}")
        self._hashing = [each for each in self._hashing if each.is_alive()]
        self._hashing.append(thread)
        thread.start()

    def finish(self, working: Callable[[], None]) -> None:
        """Record that the path is trained, if it is.

        Args:
            working: Called as long as files are hashed, so that a last save that takes hours is no stall.
        """
        while any(each.is_alive() for each in self._hashing):
            before = self._hashed
            self.settle(_LOOK_S)
            if self._hashed != before:
                working()
        if self._path.end in Checkpoints.in_folder(self._path.own).complete:
            self._path.log("done", iteration=self._path.end)
            write_path_record(self._path, self._identity, self._args, "trained")

    def settle(self, seconds: float | None = None) -> None:
        """Wait until everything committed is hashed, but at most so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        for thread in self._hashing:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _count(self) -> None:
        self._hashed += 1

    def _hash(self, folder: Path, manifest: Manifest) -> None:
        try:
            take_hashes(folder, manifest, self._count)
            with self._recording:  # a record that was begun before must not replace a newer one
                write_path_record(self._path, self._identity, self._args, "training")
        except LrpsError as error:  # the checkpoint counts all the same; `lrps verify` will say what it lacks
            print(f"lrps: {folder.name} could not be hashed: {error}", flush=True)


def clear_unfinished(own: Path, iteration: int, *, rank: int) -> None:
    """Remove the remains of a broken save before its iteration is saved again. All ranks call it together.

    Its last files go first, so that it never looks finished.
    """
    if rank == 0:
        _remove(Checkpoint(own, iteration).folder)
    torch.distributed.barrier()


def _remove(folder: Path) -> None:
    try:
        for name in (".metadata", "metadata.json", MANIFEST):
            (folder / name).unlink(missing_ok=True)
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"{folder} could not be emptied: {error.strerror}.", "fix its permissions.") from None
