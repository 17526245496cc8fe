"""Checkpoint folders as Megatron leaves them, without anything in them."""

from pathlib import Path

from megatron_lrps.campaign.checkpoint import Checkpoint


def save(checkpoints: Path, *iterations: int, whole: bool = True) -> None:
    """Make checkpoints in a ``--save`` folder; one that is not whole lacks the file that is written last."""
    for iteration in iterations:
        folder = Checkpoint(checkpoints, iteration).folder
        folder.mkdir(parents=True)
        (folder / "metadata.json").write_text("{}")
        if whole:
            (folder / ".metadata").write_text("x")
