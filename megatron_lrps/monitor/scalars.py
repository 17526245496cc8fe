"""What a path logged to TensorBoard, as plain numbers.

A run folder holds one event file per start of the job. Megatron's tags are ``lm loss``, ``learning-rate``,
``grad-norm`` and ``lm loss validation-<set>`` over iterations, and each again with `` vs samples`` over consumed
samples. At iteration i Megatron logs the learning rate of iteration i + 1.

The files are read here, not by TensorBoard's own loader: that takes seven times as long, minutes for a campaign of
60,000 iterations, and its EventAccumulator keeps the test loss and rewound iterations among the values.
"""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from megatron_lrps.errors import RefusedError

try:
    from tensorboard.compat.proto.event_pb2 import Event
except ImportError as error:
    raise RefusedError(f"tensorboard does not import: {error}.", "pip install tensorboard.") from None

VS_SAMPLES = " vs samples"
VALIDATION = " validation"

Series = list[tuple[int, float]]


def read_scalars(folder: Path, tag: str) -> Series:
    """(step, value) of one tag in a run folder, steps rising, each once; empty where nothing was logged.

    Args:
        folder: ``<save>/tensorboard/<path>``; need not exist.
        tag: E.g. ``lm loss``. Its steps are iterations, or consumed samples where it ends in ``vs samples``.

    Raises:
        RefusedError: where an event file cannot be read.
    """
    return read_run(folder, [tag]).get(tag, [])


def tags(folder: Path) -> list[str]:
    """The scalar tags of a run folder, sorted; raises RefusedError as ``read_scalars`` does."""
    return sorted(read_run(folder))


def read_run(folder: Path, wanted: Collection[str] | None = None) -> dict[str, Series]:
    """Tag -> (step, value) pairs of a run folder, read in one pass.

    Of a step that one file holds several times the first value counts: Megatron writes the test loss last, under
    the validation loss's tag. A later file replaces what earlier ones hold from its own first step on, because a
    restart retrains these iterations.

    Args:
        folder: ``<save>/tensorboard/<path>``; need not exist.
        wanted: The tags to return; all of them by default.

    Raises:
        RefusedError: where an event file cannot be read.
    """
    files = [_read_file(file, wanted) for file in sorted(folder.glob("events.out.tfevents.*"))]
    # Names give whole seconds only, and a job that fails at once is restarted within one.
    files.sort(key=lambda file: file.started)
    run: dict[str, dict[int, float]] = {}
    for file in files:
        for tag in run:
            since = file.replaces_from(tag)
            if since is not None:
                run[tag] = {step: value for step, value in run[tag].items() if step < since}
        for tag, values in file.values.items():
            run.setdefault(tag, {}).update(values)
    return {tag: sorted(values.items()) for tag, values in run.items() if values}


@dataclass
class _File:
    """One event file: when it was begun (seconds), its values, and the first steps of its tags, wanted or not."""

    started: float = float("inf")
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    trained_from: dict[bool, int] = field(default_factory=dict)
    validated_from: dict[str, int] = field(default_factory=dict)

    def add(self, tag: str, step: int, value: float, wanted: Collection[str] | None) -> None:
        if VALIDATION in tag:
            self.validated_from[tag] = min(step, self.validated_from.get(tag, step))
        else:
            by_samples = tag.endswith(VS_SAMPLES)
            self.trained_from[by_samples] = min(step, self.trained_from.get(by_samples, step))
        if wanted is None or tag in wanted:
            self.values.setdefault(tag, {}).setdefault(step, value)

    def replaces_from(self, tag: str) -> int | None:
        """The step from which this file replaces earlier values of ``tag``.

        A validation loss alone replaces no training loss: a job that is started again after its last iteration
        only validates there.
        """
        firsts = (self.trained_from.get(tag.endswith(VS_SAMPLES)), self.validated_from.get(tag))
        return min((first for first in firsts if first is not None), default=None)


def _read_file(path: Path, wanted: Collection[str] | None) -> _File:
    file = _File()
    try:
        for index, record in enumerate(_records(path)):
            event = Event.FromString(record)
            if index == 0:
                file.started = event.wall_time
            for value in event.summary.value:
                # Texts have no such field; Megatron writes its arguments as texts at the step it resumes from.
                if value.HasField("simple_value"):
                    file.add(value.tag, event.step, value.simple_value, wanted)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}.", "make it readable, then rerun.") from None
    return file


def _records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file: length, its checksum, data, its checksum.

    Ends without noise where a killed writer left half a record, or a crash left zeros; leaves out damaged data.
    """
    with path.open("rb") as stream:
        while len(header := stream.read(12)) == 12:
            length, check = struct.unpack("<QI", header)
            if _checksum(header[:8]) != check:
                return
            data, footer = stream.read(length), stream.read(4)
            if len(footer) < 4:
                return
            if _checksum(data) == struct.unpack("<I", footer)[0]:
                yield data


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC32C = _crc32c_table()


def _checksum(data: bytes) -> int:
    """CRC-32C, masked as in TensorFlow's core/lib/hash/crc32c.h."""
    crc, table = 0xFFFFFFFF, _CRC32C
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
