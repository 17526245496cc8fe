"""Event files that are derived from others: built whole in memory, then left, appended to, or replaced on disk.

A run folder has at most one of them. Its name sorts before the names of Megatron's files, because TensorBoard reads the
files of a run in that order and follows only the last one.
"""

import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from megatron_lrps.errors import StorageError
from megatron_lrps.monitor.scalars import DERIVED
from megatron_lrps.monitor.text_table import clean
from megatron_lrps.storage.files import sync, write_atomic

TEXTS = "_campaign/"
"""The prefix of texts' tags. TensorBoard sorts it before Megatron's texts, one for each of its arguments."""


def scalar(tag: str, step: int, value: float, time: float) -> Event:
    """Return a value at a step, which was logged at ``time`` (seconds since 1970)."""
    return Event(wall_time=time, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def text(tag: str, step: int, markdown: str, time: float) -> Event:
    """Return a text at a step, which TensorBoard shows as Markdown."""
    return Event(wall_time=time, step=step, summary=text_pb(tag, markdown))


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """Return a Markdown table for a text; a cell is shown as it is, and cut after 400 characters."""
    lines = [headers, ["---"] * len(headers), *([_cell(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    shown = html.escape(clean(value), quote=False)
    # Markdown's own marks become entities, which TensorBoard's sanitizer leaves alone.
    return "".join(f"&#{ord(each)};" if each in "|\\`*_[]~!" else each for each in shown)


def encode(events: Iterable[Event], *, began: float) -> bytes:
    """Return an event file that begins at ``began`` (seconds since 1970); the same events give the same bytes."""
    out = io.BytesIO()
    writer = RecordWriter(out)
    for event in (Event(wall_time=began, file_version="brain.Event:2"), *events):
        writer.write(event.SerializeToString(deterministic=True))
    return out.getvalue()


def put(folder: Path, content: bytes | None) -> bool:
    """Make ``content`` the derived event file of a run folder; returns whether anything had to change.

    Content that begins with the bytes on disk is appended, so that an open TensorBoard shows it. Otherwise a new file
    takes the old one's place under a new name, since TensorBoard would go on reading the old one behind its name.

    Args:
        folder: The run's folder; made if it is needed.
        content: The result of ``encode``, or None for no file.

    Raises:
        StorageError: The disk fails. The file that was there before is intact.
    """
    try:
        files = sorted(folder.glob(f"events.out.tfevents.*{DERIVED}"))
        newest = files[-1] if files else None
        before = newest.read_bytes() if newest else None
        kept = newest if content is not None else None
        if content is not None and content != before:
            if newest and before and content.startswith(before):
                # At its place and not at the end: two commands at once write the same bytes there.
                with newest.open("r+b") as stream:
                    stream.seek(len(before))
                    stream.write(content[len(before) :])
                    stream.flush()
                    os.fsync(stream.fileno())
            else:
                number = int(newest.suffixes[-2][1:]) + 1 if newest else 0
                kept = folder / f"events.out.tfevents.{number:010d}{DERIVED}"
                new = folder / "lrps.new"  # until it is whole, a name that TensorBoard does not read
                write_atomic(new, content)
                new.replace(kept)
                sync(folder)
        gone = [file for file in files if file != kept]
        for file in gone:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} could not be written: {error.strerror or error}.",
            "make it readable and writable, make room, then rerun.",
        ) from None
    return content != before or bool(gone)
