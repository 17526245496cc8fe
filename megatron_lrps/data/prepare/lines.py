"""Lines and whole files of plain and packed files, in bounded memory whatever the file holds."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from megatron_lrps.data.prepare.shards import Piece
from megatron_lrps.data.prepare.tables import torn
from megatron_lrps.errors import RefusedError

LONGEST_DOCUMENT = 64 * 2**20
"""Bytes; a longer line is passed over without being held."""

_BLOCK = 4 * 2**20
_ZSTD_WINDOW = 2**27  # what `zstd --long` writes without another option for the reader
_ZSTD_INPUT = 2**12  # a byte may unpack to 32 KiB, and what is given at once is unpacked at once
_BOMB_RATIO = 2000
_BOMB_BYTES = 64 * 2**20
_BOM = b"\xef\xbb\xbf"


class Blocks:
    """The bytes of a file from an offset on, unpacked.

    Args:
        path: The file.
        packing: "", gz or zst.
        start: Offset to begin at; only where nothing is packed.
    """

    def __init__(self, path: Path, packing: str, start: int = 0) -> None:
        self._path = path
        self._packing = packing
        self._start = start

    def __iter__(self) -> Iterator[bytes]:
        """Blocks of some MiB.

        Raises:
            RefusedError: The file cannot be read, ends too early, or unpacks to a multiple that no text has.
        """
        try:
            with self._path.open("rb", buffering=0) as raw:
                stream = self._unpacked(raw)
                total = 0
                while block := stream.read(_BLOCK):
                    total += len(block)
                    if self._packing and total > _BOMB_BYTES and total > _BOMB_RATIO * raw.tell():
                        raise RefusedError(
                            f"{self._path} unpacks to more than {_BOMB_RATIO} times its size: that is no text.",
                            "take it out of the plan's sources, or unpack it and look.",
                        )
                    yield block
                if self._packing and not raw.tell():
                    raise EOFError("it is empty, and not even packed")
        except (OSError, EOFError, zlib.error) as error:
            raise torn(self._path, error) from None

    def _unpacked(self, raw: io.FileIO) -> IO[bytes]:
        if self._packing == "gz":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
        if self._packing == "zst":
            return cast("IO[bytes]", _Zstd(raw, self._path))
        raw.seek(self._start)
        return raw


class _Zstd:
    """zstandard's stream, whose own reader takes a frame that ends too early for the end of the file."""

    def __init__(self, raw: io.FileIO, path: Path) -> None:
        self._library = _zstandard()
        self._raw = raw
        self._path = path
        self._decompressor = self._library.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame = self._decompressor.decompressobj()
        self._packed = b""
        self._within = False

    def read(self, size: int) -> bytes:
        """At least ``size`` bytes of text, where there are so many; b"" at the end."""
        found: list[bytes] = []
        total = 0
        try:
            while total < size and (packed := self._packed or self._raw.read(_ZSTD_INPUT)):
                self._packed = b""
                text: bytes = self._frame.decompress(packed)
                self._within = not self._frame.eof
                if self._frame.eof:
                    self._packed = self._frame.unused_data
                    self._frame = self._decompressor.decompressobj()
                found.append(text)
                total += len(text)
        except self._library.ZstdError as error:
            raise torn(self._path, error) from None
        if total < size and self._within:
            raise EOFError("it ends within a frame")
        return b"".join(found)


def lines(piece: Piece) -> Iterator[tuple[int, bytes | None]]:
    """Offset and bytes of each line of a piece, without its line feed; None for one of more than ``LONGEST_DOCUMENT``.

    Offsets are those of the unpacked file.
    """
    start = piece.start
    offset = start
    # The byte before tells whether a line begins here: where it does not, the piece before has it.
    skipping = start > 0
    if skipping:
        offset = start - 1
    carry: list[bytes] = []
    carried = 0
    too_long = False
    for block in Blocks(piece.file.path, piece.file.packing, offset):
        parts = block.split(b"\n")
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if last:
                carried += len(part)
                if carried > LONGEST_DOCUMENT:
                    carry, too_long = [], True
                elif part:
                    carry.append(part)
                break
            line = part
            if carried:
                line = b"".join([*carry, part])
            length = carried + len(part)
            if skipping:
                skipping = False
            else:
                if piece.end is not None and offset >= piece.end:
                    return
                yield offset, None if too_long or length > LONGEST_DOCUMENT else _plain(line, offset)
            offset += length + 1
            carry, carried, too_long = [], 0, False
    if carried and not skipping and (piece.end is None or offset < piece.end):
        yield offset, None if too_long else _plain(b"".join(carry), offset)


def whole(piece: Piece) -> bytes | None:
    """A whole file's bytes, or None where they are more than ``LONGEST_DOCUMENT``."""
    blocks: list[bytes] = []
    size = 0
    for block in Blocks(piece.file.path, piece.file.packing):
        size += len(block)
        if size > LONGEST_DOCUMENT:
            return None
        blocks.append(block)
    return _plain(b"".join(blocks), 0)


def _plain(line: bytes, offset: int) -> bytes:
    """A line without the file's byte order mark."""
    return line.removeprefix(_BOM) if offset == 0 else line


def _zstandard() -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise RefusedError(
            "The Python package zstandard is not installed.", "pip install 'megatron-lrps[data]'."
        ) from None
    return zstandard
