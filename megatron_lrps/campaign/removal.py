"""Removing checkpoints: reading the disk, and deleting in an order that is safe against crashes.

A checkpoint is first renamed to ``.trash-iter_0000100-<token>`` beside it, which no reader takes for a checkpoint, so a
half-deleted one never looks complete, or like a save that was cut off. The next gc removes leftovers.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import TRACKER, Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.keep import PathOnDisk, Verdict, decide
from megatron_lrps.campaign.pins import read_pins
from megatron_lrps.campaign.record import events, log_event, read_record
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.storage.files import sync

_TRASH = re.compile(r"\.trash-iter_(\d{7,})-[0-9a-f]{8}\Z")


def judge(campaign: Campaign) -> list[Verdict]:
    """Return gc's decision on every checkpoint of a plan's campaign; changes nothing.

    Raises:
        RefusedError: a file that may protect a checkpoint cannot be read.
        StorageError: the disk refuses.
    """
    campaign, keep = campaign.with_accepted(), campaign.plan.keep
    try:
        return decide(campaign.trees, _survey(campaign, keep.latest), keep)
    except OSError as error:
        raise StorageError(
            f"{error.filename or campaign.folder.root} could not be read: {error.strerror or error}.",
            "fix that, then rerun; nothing was deleted.",
        ) from None


def sweep(campaign: Campaign, doomed: Sequence[Verdict]) -> Iterator[Verdict]:
    """Delete the checkpoints that ``judge`` gave up, oldest first; yields each deleted one.

    Raises:
        RefusedError: as ``judge``.
        StorageError: the disk refuses; the next gc finishes what was begun.
    """
    for verdict in sorted(doomed, key=lambda each: (each.trash is None, each.iteration, each.path)):
        # Deleting takes minutes. Meanwhile the next one may be pinned, or become a new fork point.
        if any(_same(verdict, now) for now in judge(campaign) if not now.keep) and _remove(campaign, verdict):
            yield verdict


def folder_of(campaign: Campaign, verdict: Verdict) -> Path:
    """Return the folder of a verdict's checkpoint."""
    checkpoints = campaign.folder.path(verdict.path).checkpoints
    return checkpoints / verdict.trash if verdict.trash else Checkpoint(checkpoints, verdict.iteration).folder


def size_on_disk(folder: Path) -> int:
    """Return a folder's bytes on disk, 0 for a symbolic link; skip vanished files. Raises StorageError."""
    size = 0
    try:
        pending = [] if folder.is_symlink() else [folder]
        while pending:
            with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(Path(entry))
    except OSError as error:
        raise StorageError(f"{folder} could not be read: {error.strerror}.", "fix that, then rerun.") from None
    return size


def _same(one: Verdict, other: Verdict) -> bool:
    return (one.path, one.iteration, one.trash) == (other.path, other.iteration, other.trash)


def _remove(campaign: Campaign, verdict: Verdict) -> bool:
    """Delete one checkpoint, or its leftovers; False if another process has already removed it."""
    path, folder = campaign.folder.path(verdict.path), folder_of(campaign, verdict)
    trash = folder
    try:
        if verdict.trash is None:
            trash = folder.with_name(f".trash-{folder.name}-{secrets.token_hex(4)}")
            try:
                folder.rename(trash)
            except FileNotFoundError:
                return False
            # Otherwise a machine that fails now could come up with the old name on a half-deleted folder.
            sync(path.checkpoints)
        _logging_first(path, verdict, lambda: shutil.rmtree(trash, onexc=_unless_gone))
    except OSError as error:
        raise StorageError(
            f"{folder} could not be deleted: {error.strerror or error} ({error.filename or trash}).",
            "fix that; the same command then finishes it.",
        ) from None
    return True


def _logging_first(path: PathFolder, verdict: Verdict, delete: Callable[[], None]) -> None:
    def log() -> None:
        log_event(path, "deleted", iteration=verdict.iteration, reason=verdict.reason)

    try:
        log()
    except StorageError:
        # A full disk is the reason to run gc: the line fits once the checkpoint is gone.
        delete()
        log()
    else:
        delete()


def _unless_gone(_: Callable[..., Any], __: str, error: BaseException) -> None:
    """Ignore a missing file: another gc may delete the same leftovers."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _survey(campaign: Campaign, latest: int) -> list[PathOnDisk]:
    """Read the folders of all paths, including those that no plan names; raises OSError."""
    named = {name for tree in campaign.trees for name in tree.by_name}
    root = campaign.folder.root / "paths"
    present = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    names = [*(name for name in campaign.tree.by_name if name in present)]
    names += [name for name in present if name not in names]
    links = _link_targets([campaign.folder.path(name).checkpoints for name in names])
    found = []
    for name in names:
        folder = campaign.folder.path(name)
        saved = Checkpoints.in_folder(folder.checkpoints)
        record = _record(folder, needed=name not in named)
        found.append(
            PathOnDisk(
                path=name,
                complete=saved.complete,
                torn=tuple(each for each in saved.torn if _cut_off(saved.at(each).folder)),
                damaged=_damaged(folder, saved, latest),
                trash=_leftovers(folder.checkpoints),
                referred=_referred(folder, [*saved.complete, *saved.torn], links),
                parent=record.get("parent"),
                fork=record.get("fork", 0),
                end=record.get("end"),
                released=bool(record.get("released")),
                mean=bool(record.get("mean")),
            )
        )
    return found


def _record(folder: PathFolder, *, needed: bool) -> dict[str, Any]:
    """Read path.json, empty if it is unreadable; refused if only it has the path's fork point."""
    record = read_record(folder)
    if record is not None:
        parent, numbers = record.get("parent"), [record.get("fork", 0), record.get("end", 0)]
        if isinstance(parent, str | None) and all(type(number) is int for number in numbers):
            return record
    elif not folder.record.is_symlink() and not folder.record.exists():
        return {}
    if needed:
        raise RefusedError(
            f"{folder.record} cannot be read and no plan names {folder.root.name}, so its fork point is unknown.",
            f"restore it; or where nobody needs that path any more, remove {folder.root}.",
        )
    return {}


def _cut_off(folder: Path) -> bool:
    """Whether a save's last files are missing or empty.

    Raises OSError if the disk does not answer. ``is_complete`` would take that for an incomplete checkpoint, which must
    not be deleted for that reason.
    """
    for name in (".metadata", "metadata.json"):
        try:
            if not (folder / name).stat().st_size:
                return True
        except FileNotFoundError:
            return True
    return False


def _damaged(folder: PathFolder, saved: Checkpoints, latest: int) -> dict[int, str]:
    """Return complete checkpoint -> the damage a resume has found or would find, to the ``latest``-th whole one."""
    damaged = {iteration: why for iteration, why in _skipped(folder).items() if iteration in saved.complete}
    whole = 0
    for iteration in reversed(saved.complete):
        if whole == latest:
            break
        if iteration not in damaged and (damages := saved.at(iteration).damages()):
            damaged[iteration] = str(damages[0])
        whole += iteration not in damaged
    return damaged


def _skipped(folder: PathFolder) -> dict[int, str]:
    """Return the damage that the path's last start found; its run resumes below that and may save anew."""
    skipped: dict[int, str] = {}
    pending: dict[int, str] = {}
    for event in events(folder):
        kind, iteration = event.get("event"), event.get("iteration")
        if kind == "started":
            skipped, pending = pending, {}
        elif kind == "skipped" and isinstance(iteration, int):
            pending[iteration] = str(event.get("reason"))
        elif kind == "saved":
            skipped.pop(iteration, None)  # type: ignore[arg-type]
    return skipped | pending


def _leftovers(checkpoints: Path) -> dict[str, int]:
    if not checkpoints.is_dir() or _is_linked(checkpoints):
        return {}
    entries = [(entry, _TRASH.match(entry.name)) for entry in checkpoints.iterdir()]
    return {
        entry.name: int(match[1]) for entry, match in entries if match and entry.is_dir() and not entry.is_symlink()
    }


def _referred(folder: PathFolder, iterations: Sequence[int], links: dict[str, Path]) -> dict[int, str]:
    """Return iteration -> what refers to it on this disk, in words."""
    reasons: dict[int, list[str]] = {iteration: [] for iteration in iterations}
    for pin in read_pins(folder).values():
        text = pin.note if pin.note.isprintable() else repr(pin.note)
        reasons.setdefault(pin.iteration, []).append(f"pinned: {text}" if text else "pinned")
    tracker = folder.checkpoints / TRACKER
    with contextlib.suppress(FileNotFoundError, ValueError):
        reasons.setdefault(int(tracker.read_text()), []).append(f"{TRACKER} names it, where stock Megatron resumes")
    above = _is_linked(folder.checkpoints)
    for iteration in iterations:
        place = Checkpoint(folder.checkpoints, iteration).folder
        if above or place.is_symlink():
            reasons[iteration].append("reached through a symbolic link, which gc does not follow")
        elif str(place) in links:
            reasons[iteration].append(f"the symbolic link {links[str(place)]} leads to it")
    return {iteration: "; ".join(texts) for iteration, texts in reasons.items() if texts}


def _link_targets(folders: Sequence[Path]) -> dict[str, Path]:
    """Return real folder -> the symbolic link to it, among a path's checkpoints or above them."""
    links: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            above = _is_linked(folder)
            links |= {os.path.realpath(entry): entry for entry in folder.iterdir() if above or entry.is_symlink()}
    return links


def _is_linked(checkpoints: Path) -> bool:
    """Whether a path's checkpoints are reached through a link; the campaign's folder itself is resolved."""
    return os.path.realpath(checkpoints) != str(checkpoints)
