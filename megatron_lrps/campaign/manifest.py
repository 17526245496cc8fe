"""The manifest of a checkpoint's files: sizes as soon as it is durable, hashes a moment later.

``lrps-manifest.jsonl`` lies in the checkpoint's own folder. Its first line has the hash of the second, which lists the
files. Sizes cost one stat per file and are written before the checkpoint is announced. Hashes cost a second pass over
the data and are taken while training goes on.
A checkpoint without a manifest (stock Megatron's) is judged by Megatron's own last files alone.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.errors import StorageError
from megatron_lrps.storage.files import read_lines, sync, write_atomic

MANIFEST = "lrps-manifest.jsonl"
FORMAT = 1
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file of a checkpoint that differs from what was saved."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The files of a checkpoint.

    Attributes:
        bytes: File name -> size.
        sha256: File name -> hash; empty until the hashes have been taken.
    """

    bytes: Mapping[str, int]
    sha256: Mapping[str, str]

    @property
    def digest(self) -> str | None:
        """One hash for the whole checkpoint, for lineage records; None before the hashes were taken."""
        if not self.sha256:
            return None
        lines = "".join(f"{name} {self.bytes[name]} {self.sha256[name]}\n" for name in sorted(self.bytes))
        return hashlib.sha256(lines.encode()).hexdigest()


def take_sizes(folder: Path) -> Manifest:
    """Write the manifest of a finished checkpoint, without hashes; raises StorageError."""
    try:
        sizes = {file.name: file.stat().st_size for file in _files(folder)}
        sync_small_files(folder)
    except OSError as error:
        raise StorageError(f"{folder} could not be read: {error.strerror}.", "check the disk, then rerun.") from None
    manifest = Manifest(bytes=sizes, sha256={})
    _write(folder, manifest)
    return manifest


def sync_small_files(folder: Path) -> None:
    """Sync a checkpoint's files to disk except the large ones, which Megatron syncs itself; raises OSError."""
    for file in _files(folder):
        if file.suffix != ".distcp":
            sync(file)
    sync(folder)


def take_hashes(folder: Path, manifest: Manifest, progress: Callable[[], None] = lambda: None) -> Manifest:
    """Hash every file and rewrite the manifest.

    Args:
        folder: The checkpoint's folder.
        manifest: Its files and their sizes.
        progress: Called after each file.

    Raises:
        StorageError: a file cannot be read, or has changed its size.
    """
    hashes = {}
    for name, size in manifest.bytes.items():
        try:
            digest, found = _hash(folder / name)
        except OSError as error:
            raise StorageError(f"{folder / name} could not be read: {error.strerror}.", "check the disk.") from None
        if found != size:
            raise StorageError(f"{folder / name} has {found} bytes, it was saved with {size}.", "check the disk.")
        hashes[name] = digest
        progress()
    whole = Manifest(bytes=manifest.bytes, sha256=hashes)
    _write(folder, whole)
    return whole


def read_manifest(folder: Path) -> Manifest | None:
    """Read a checkpoint's manifest; None if it is missing or damaged."""
    lines = read_lines(folder / MANIFEST)
    if len(lines) != 2 or lines[0] != _head(lines[1]):
        return None
    sizes: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for name, entry in lines[1].items():
        size, digest = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        # A name that leads elsewhere is no file of this folder.
        if not isinstance(size, int) or Path(name).name != name or not name.isprintable():
            return None
        sizes[name] = size
        if isinstance(digest, str):
            hashes[name] = digest
    return Manifest(bytes=sizes, sha256=hashes if len(hashes) == len(sizes) else {})


def damaged_sizes(folder: Path) -> list[Damage]:
    """Return the files that are missing or differ in size from what was saved."""
    manifest = read_manifest(folder)
    if manifest is None:
        present = (folder / MANIFEST).exists()
        return [Damage(file=MANIFEST, what="cannot be read")] if present else []
    damages = []
    for name, size in manifest.bytes.items():
        try:
            found = (folder / name).stat().st_size
        except OSError as error:
            damages.append(Damage(file=name, what=f"cannot be read: {error.strerror}"))
            continue
        if found != size:
            damages.append(Damage(file=name, what=f"has {found} bytes, it was saved with {size}"))
    return damages


def damaged_contents(folder: Path, *, part: int = 0, parts: int = 1) -> list[Damage]:
    """Return the files whose content is not what was saved; none if hashes were never taken.

    Args:
        folder: The checkpoint.
        part: The share of the files to read; each rank reads one share.
        parts: The number of shares.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return damaged_sizes(folder)
    damages = []
    # Dealt out largest first, so that no rank reads much more than another.
    for name in sorted(manifest.sha256, key=lambda name: (-manifest.bytes[name], name))[part::parts]:
        try:
            digest, _ = _hash(folder / name)
        except OSError as error:
            damages.append(Damage(file=name, what=f"cannot be read: {error.strerror}"))
            continue
        if digest != manifest.sha256[name]:
            damages.append(Damage(file=name, what="has other content than it was saved with"))
    return damages


def _files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.is_file() and file.name != MANIFEST and file.suffix != ".tmp"
    )


def _hash(file: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _write(folder: Path, manifest: Manifest) -> None:
    files = {
        name: {"bytes": size, **({"sha256": manifest.sha256[name]} if manifest.sha256 else {})}
        for name, size in manifest.bytes.items()
    }
    # Not in the checkpoint: others walk its files meanwhile, as Megatron does for Weights & Biases.
    temporary = folder.with_name(f".{folder.name}.{MANIFEST}.tmp")
    write_atomic(folder / MANIFEST, f"{json.dumps(_head(files))}\n{json.dumps(files)}\n", temporary=temporary)


def _head(files: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "sha256": hashlib.sha256(json.dumps(files).encode()).hexdigest()}
