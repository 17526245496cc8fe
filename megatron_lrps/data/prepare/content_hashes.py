"""Tells by its bytes whether a file of text is the one that was read before, wherever it is and whatever its name."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.shards import FileSpan
from megatron_lrps.errors import RefusedError

_BLOCK = 2**20

FileRecord = dict[str, Any]
"""A file that was read, in JSON: ``file``, ``bytes``, ``mtime_ns`` and ``hashes``. Each hash is a range of the file:
first byte, the byte after the last, and the sha256 of the bytes between. Together they cover the file."""


def entry_of(span: FileSpan) -> FileRecord:
    """Return the file of a range and the hash of the range's bytes. Raises RefusedError."""
    start, stop = span.raw
    return {**_facts(span.file), "hashes": [[start, stop, _sha256(span.file.path, start, stop)]]}


def whole_files(files: Sequence[SourceFile], entries: Iterable[FileRecord]) -> list[FileRecord]:
    """Return the records of whole files, from those of their ranges in order."""
    hashes: list[list[Any]] = []
    for entry in entries:
        if entry["hashes"][0][0] == 0:
            hashes.append([])
        hashes[-1] += entry["hashes"]
    return [{**_facts(file), "hashes": found} for file, found in zip(files, hashes, strict=True)]


def renewed(files: Sequence[SourceFile], entries: Iterable[FileRecord]) -> list[FileRecord]:
    """Return the records of the same content under the files' present names and times."""
    return [{**entry, **_facts(file)} for file, entry in zip(files, entries, strict=True)]


class Contents:
    """A comparison of files with earlier reads. It reads only files whose name or time of change differs.

    Args:
        workers: The number of threads that read.
        say: Called with a line before files are read.
    """

    def __init__(self, workers: int, say: Callable[[str], None]) -> None:
        self._workers = workers
        self._say = say
        self._known: dict[tuple[Path, int, int], str] = {}

    def same(self, pairs: Iterable[tuple[SourceFile, FileRecord]]) -> list[bool]:
        """Return for each file whether it holds what the record says. Raises RefusedError if it cannot be read."""
        pairs = list(pairs)
        moved = [(file, entry) for file, entry in pairs if file.bytes == entry["bytes"] and not _untouched(file, entry)]
        ranges = [(file.path, start, stop) for file, entry in moved for start, stop, _ in entry["hashes"]]
        self._read([each for each in dict.fromkeys(ranges) if each not in self._known])
        return [_untouched(file, entry) or self._agrees(file, entry) for file, entry in pairs]

    def _agrees(self, file: SourceFile, entry: FileRecord) -> bool:
        hashes = entry["hashes"]
        return file.bytes == entry["bytes"] and all(
            self._known[file.path, start, stop] == sha256 for start, stop, sha256 in hashes
        )

    def _read(self, ranges: Sequence[tuple[Path, int, int]]) -> None:
        if not ranges:
            return
        size, files = sum(stop - start for _, start, stop in ranges), len({path for path, _, _ in ranges})
        self._say(f"Reading {files} files ({size / 1e6:,.1f} MB) whose names or times have changed: are they the same?")
        stopped = Event()
        pool = ThreadPoolExecutor(self._workers)
        try:
            paths, starts, stops = zip(*ranges, strict=True)
            found = pool.map(partial(_sha256, stopped=stopped), paths, starts, stops)
            self._known.update(zip(ranges, found, strict=True))
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _facts(file: SourceFile) -> FileRecord:
    return {"file": str(file.path), "bytes": file.bytes, "mtime_ns": file.mtime_ns}


def _untouched(file: SourceFile, entry: FileRecord) -> bool:
    return all(entry[key] == value for key, value in _facts(file).items())


def _sha256(path: Path, start: int, stop: int, stopped: Event | None = None) -> str:
    """Return the sha256 of the bytes from ``start`` to ``stop``, in hexadecimal digits."""
    total = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(start)
            while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
                total.update(block)
                start += len(block)
                if stopped is not None and stopped.is_set():
                    break
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be read: {error.strerror or error}.", "Put it back, and run the command again."
        ) from None
    return total.hexdigest()
