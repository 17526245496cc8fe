"""Reads plain and packed files as UTF-8, a few MiB at a time, whatever the file holds."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from megatron_lrps.data.library import library
from megatron_lrps.data.prepare.find import SourceFile
from megatron_lrps.data.prepare.tables import torn
from megatron_lrps.errors import RefusedError

UTF8 = "utf-8"

_BLOCK = 4 * 2**20
_ZSTD_WINDOW = 2**27  # what `zstd --long` writes without another option for the reader
_ZSTD_INPUT = 2**12  # a byte may unpack to 32 KiB, and what is given at once is unpacked at once
_BOMB_RATIO = 2000
_BOMB_BYTES = 64 * 2**20
_SWAPPED_MARK = "\ufffe"
_UNREADABLE = "\udc80"
"""Stands for bytes that are not text in the file's encoding. It is not valid UTF-8, so its document is found later."""


def _no_text(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _UNREADABLE, error.end


codecs.register_error("lrps-unreadable", _no_text)


class Blocks:
    """The bytes of a file from an offset on, unpacked, and in UTF-8 whatever the file is in.

    Args:
        file: The file.
        encoding: Its encoding, from ``sniff.encoding_of``. ``UTF8`` gives the bytes as they are. In another encoding,
            what cannot be decoded becomes bytes that are not UTF-8.
        start: Offset to begin at; for files that are neither packed nor decoded.
    """

    def __init__(self, file: SourceFile, encoding: str = UTF8, start: int = 0) -> None:
        self._path = file.path
        self._packing = file.packing
        self._encoding = encoding
        self._start = start

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks of some MiB.

        Raises:
            RefusedError: The file cannot be read, ends too early, or unpacks to far more than text does.
        """
        if self._encoding == UTF8:
            yield from self.raw()
            return
        decoder = codecs.getincrementaldecoder(self._encoding)("lrps-unreadable")
        for block in self.raw():
            yield _utf8(decoder.decode(block))
        yield _utf8(decoder.decode(b"", final=True))

    def raw(self, size: int | None = None) -> Iterator[bytes]:
        """Yield the same blocks without decoding. ``size`` is the size of a block."""
        try:
            with self._path.open("rb", buffering=0) as raw:
                stream = self._unpacked(raw)
                total = 0
                while block := stream.read(size or _BLOCK):
                    total += len(block)
                    if self._packing and total > _BOMB_BYTES and total > _BOMB_RATIO * raw.tell():
                        raise RefusedError(
                            f"{self._path} unpacks to more than {_BOMB_RATIO} times its size: that is no text.",
                            "Take it out of the plan's sources, or unpack it and look.",
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
    """A Zstandard stream. zstandard's own reader does not notice that a frame ends too early."""

    def __init__(self, raw: io.FileIO, path: Path) -> None:
        self._library = library("zstandard", "Install it: pip install 'megatron-lrps[data]'")
        self._raw = raw
        self._path = path
        self._decompressor = self._library.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame = self._decompressor.decompressobj()
        self._packed = b""
        self._within = False

    def read(self, size: int) -> bytes:
        """Return at least ``size`` bytes of text, if there are so many; b"" at the end."""
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


def _utf8(text: str) -> bytes:
    # A mark of the other byte order says that another encoding begins here.
    return text.replace(_SWAPPED_MARK, _UNREADABLE).encode(UTF8, "surrogatepass")
