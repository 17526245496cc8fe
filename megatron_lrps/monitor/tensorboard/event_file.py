"""Event files that are derived from others: built whole in memory; on disk they are left, grown, or replaced.

A run folder has one of them at most. Its name sorts before every file of Megatron's, because TensorBoard reads the
files of a run in that order and keeps following the last one alone.
"""

import io
import os
from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from megatron_lrps.errors import StorageError
from megatron_lrps.monitor.scalars import DERIVED
from megatron_lrps.storage.files import sync, write_atomic

_NAME = "events.out.tfevents.{:010d}" + DERIVED
_NEW = "lrps.new"
"""What a new file is called until it is whole: not a name that TensorBoard reads."""


def scalar(tag: str, step: int, value: float, time: float) -> Event:
    """A value at a step, which was logged at ``time`` (seconds since 1970)."""
    return Event(wall_time=time, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def text(tag: str, step: int, markdown: str, time: float) -> Event:
    """A text at a step, shown as Markdown."""
    return Event(wall_time=time, step=step, summary=text_pb(tag, markdown))


def encode(events: Iterable[Event], *, began: float) -> bytes:
    """An event file's content; the same events give the same bytes.

    Args:
        events: In the order of the file.
        began: The time of its first record, in seconds since 1970.
    """
    out = io.BytesIO()
    writer = RecordWriter(out)
    writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString(deterministic=True))
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return out.getvalue()


def put(folder: Path, content: bytes | None) -> bool:
    """Let the derived event file of a run folder hold ``content``; says whether anything had to be changed.

    What begins with the bytes that are there is appended, so that a TensorBoard that is open shows it; else a new file
    takes the old one's place, under a new name, since TensorBoard would go on reading the old one behind its name.

    Args:
        folder: The run's; made where it is needed.
        content: What ``encode`` gives, or None for no file.

    Raises:
        StorageError: where the disk refuses; what was there before is intact.
    """
    try:
        files = sorted(folder.glob("events.out.tfevents.*" + DERIVED))
        newest = files[-1] if files else None
        before = None if newest is None else newest.read_bytes()
        kept = None if content is None else newest
        if content is not None and content != before:
            if newest is not None and before and content.startswith(before):
                _grow(newest, content, len(before))
            else:
                kept = _add(folder, 0 if newest is None else int(newest.suffixes[-2][1:]) + 1, content)
        gone = [file for file in files if file != kept]
        for file in gone:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} could not be written: {error.strerror or error}.",
            "make it readable and writable, make room, then rerun.",
        ) from None
    return content != before or bool(gone)


def _grow(file: Path, content: bytes, since: int) -> None:
    # At its place, not at the end: two commands at a time write the same bytes there.
    with file.open("r+b") as stream:
        stream.seek(since)
        stream.write(content[since:])
        stream.flush()
        os.fsync(stream.fileno())


def _add(folder: Path, number: int, content: bytes) -> Path:
    file, new = folder / _NAME.format(number), folder / _NEW
    write_atomic(new, content)
    new.replace(file)
    sync(folder)
    return file
