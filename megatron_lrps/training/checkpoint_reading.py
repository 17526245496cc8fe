"""A checkpoint's files are read against their hashes while the model is built, so that the load finds them whole.

Each rank reads a share on a separate thread, and hashing lets the others work.
"""

import threading

import torch

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.manifest import Damage


class Reading:
    """A reading of this rank's share of a checkpoint.

    Args:
        checkpoint: The checkpoint.
        rank: This process's rank.
        ranks: The number of ranks.
    """

    def __init__(self, checkpoint: Checkpoint, rank: int, ranks: int) -> None:
        self._checkpoint, self._rank, self._ranks = checkpoint, rank, ranks
        self._found: list[Damage] = []
        self._thread = threading.Thread(target=self._read, name="lrps-reading", daemon=True)
        self._thread.start()

    def result(self) -> list[Damage]:
        """Wait until all ranks have read their shares, and return the damage found. All ranks call it together."""
        self._thread.join()
        gathered: list[list[Damage] | None] = [None] * self._ranks
        torch.distributed.all_gather_object(gathered, self._found)
        return [damage for part in gathered if part for damage in part]

    def _read(self) -> None:
        try:
            self._found = self._checkpoint.damaged_contents(part=self._rank, parts=self._ranks)
        except Exception as error:  # it would end with the thread, and unread files would pass for whole
            self._found = [Damage(file=self._checkpoint.folder.name, what=f"cannot be checked: {error}")]
