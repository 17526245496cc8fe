"""Verifying a campaign's checkpoints file by file, without loading them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.manifest import Damage

State = Literal["whole", "sizes", "unlisted", "damaged", "torn"]

MEANING: dict[str, str] = {
    "whole": "every file has the content it was saved with",
    "sizes": "every file has its size; the run ended before their hashes were taken",
    "unlisted": "saved by stock Megatron, without a manifest to compare with",
    "damaged": "not as it was saved",
    "torn": "its save was cut off",
}


@dataclass(frozen=True, kw_only=True)
class VerifiedCheckpoint:
    """One checkpoint.

    Attributes:
        path: The path's name.
        checkpoint: The checkpoint.
        state: One of the keys of ``MEANING``, which explains them.
        damages: The files that differ from what was saved.
    """

    path: str
    checkpoint: Checkpoint
    state: State
    damages: tuple[Damage, ...] = ()


def verify(campaign: Campaign, names: Iterable[str]) -> Iterator[VerifiedCheckpoint]:
    """Read every checkpoint of the named paths, one after another."""
    for name in names:
        saved = Checkpoints.in_folder(campaign.folder.path(name).checkpoints)
        for iteration in sorted([*saved.complete, *saved.torn]):
            if iteration in saved.complete:
                yield verify_one(name, saved.at(iteration))
            else:
                yield VerifiedCheckpoint(path=name, checkpoint=saved.at(iteration), state="torn")


def verify_one(path: str, checkpoint: Checkpoint) -> VerifiedCheckpoint:
    """Read a finished checkpoint."""
    sizes = checkpoint.damages()
    named = {damage.file for damage in sizes}
    damages = (*sizes, *(damage for damage in checkpoint.damaged_contents() if damage.file not in named))
    state: State
    if damages:
        state = "damaged"
    elif (manifest := checkpoint.manifest) is None:
        state = "unlisted"
    else:
        state = "whole" if manifest.sha256 else "sizes"
    return VerifiedCheckpoint(path=path, checkpoint=checkpoint, state=state, damages=damages)
