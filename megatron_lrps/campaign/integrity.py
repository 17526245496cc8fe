"""Whether the checkpoints of a campaign are what was saved, file by file. Loads none of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_lrps.campaign.folders import CampaignFolder, checkpoint, checkpoints_in
from megatron_lrps.campaign.manifest import Damage, damaged_contents, damaged_sizes, read_manifest

State = Literal["whole", "sizes", "unlisted", "damaged", "torn"]

MEANING: dict[str, str] = {
    "whole": "every file has the content it was saved with",
    "sizes": "every file has its size; the run ended before their hashes were taken",
    "unlisted": "saved by stock Megatron, without a manifest to compare with",
    "damaged": "not as it was saved",
    "torn": "its save was cut off",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One checkpoint.

    Attributes:
        path: Its path's name.
        iteration: Its own.
        folder: Where it lies.
        state: See ``MEANING``.
        damages: The files that are not as they were saved.
    """

    path: str
    iteration: int
    folder: Path
    state: State
    damages: tuple[Damage, ...] = ()


def verify(campaign: CampaignFolder, names: Iterable[str]) -> Iterator[Finding]:
    """Read every checkpoint of the named paths, one after another."""
    for name in names:
        folder = campaign.path(name).checkpoints
        complete, torn = checkpoints_in(folder)
        for iteration in sorted([*complete, *torn]):
            place = checkpoint(folder, iteration)
            if iteration in complete:
                yield verify_one(name, iteration, place)
            else:
                yield Finding(path=name, iteration=iteration, folder=place, state="torn")


def verify_one(path: str, iteration: int, folder: Path) -> Finding:
    """Read a finished checkpoint."""
    state, damages = _judge(folder)
    return Finding(path=path, iteration=iteration, folder=folder, state=state, damages=damages)


def _judge(folder: Path) -> tuple[State, tuple[Damage, ...]]:
    sizes = damaged_sizes(folder)
    named = {damage.file for damage in sizes}
    damages = [*sizes, *(damage for damage in damaged_contents(folder) if damage.file not in named)]
    if damages:
        return "damaged", tuple(damages)
    manifest = read_manifest(folder)
    if manifest is None:
        return "unlisted", ()
    return ("whole" if manifest.sha256 else "sizes"), ()
