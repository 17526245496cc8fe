"""Lines and whole files, in bounded memory whatever the file holds."""

from collections.abc import Iterable, Iterator

from megatron_lrps.data.prepare.shards import FileSpan
from megatron_lrps.data.prepare.text_blocks import UTF8, Blocks

LONGEST_DOCUMENT = 64 * 2**20
"""The limit in bytes. A longer line is skipped without being held in memory."""


def lines(span: FileSpan, encoding: str = UTF8, *, ends: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """Yield offset and bytes of each line of a range; None as bytes if it is longer than ``LONGEST_DOCUMENT``.

    A line ends in LF, CR LF or CR, because Python and Megatron's tool read text like that.

    Args:
        span: The range. A line belongs to the range that holds its first byte.
        encoding: The encoding of the file.
        ends: Whether lines are given with their ends.

    Returns:
        Offsets count in the unpacked and decoded file.
    """
    start = span.start
    offset = start
    # The byte before tells whether a line begins here. If none does, the line belongs to the range before.
    skipping = start > 0
    if skipping:
        offset = start - 1
    carry: list[bytes] = []
    carried = 0
    too_long = False
    for block in _uncut(Blocks(span.file, encoding, offset)):
        parts, end = _parts(block)
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
            length = carried + len(part) + end
            if skipping:
                skipping = False
            else:
                if span.end is not None and offset >= span.end:
                    return
                if ends and end:
                    line += b"\n"
                elif not ends and not end:
                    line = line.rstrip(b"\r\n")
                yield offset, None if too_long or len(line) > LONGEST_DOCUMENT else line
            offset += length
            carry, carried, too_long = [], 0, False
    if carried and not skipping and (span.end is None or offset < span.end):
        yield offset, None if too_long else b"".join(carry)


def _uncut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in blocks that never end between a CR and its LF."""
    held = b""
    for block in blocks:
        whole = held + block if held else block
        held = b"\r" if whole.endswith(b"\r") else b""
        yield whole[:-1] if held else whole
    if held:
        yield held


def _parts(block: bytes) -> tuple[list[bytes], int]:
    """Cut a block behind its line ends; return how many bytes of line end each part lacks, too. The last has no end."""
    if b"\r" not in block:
        return block.split(b"\n"), 1  # several times as fast, and the case of nearly all files
    parts = block.splitlines(keepends=True)
    if not parts or parts[-1].endswith((b"\r", b"\n")):
        parts.append(b"")
    return parts, 0


def whole(span: FileSpan, encoding: str = UTF8) -> bytes | None:
    """Return the bytes of a whole file, or None if they are more than ``LONGEST_DOCUMENT``."""
    blocks: list[bytes] = []
    size = 0
    for block in Blocks(span.file, encoding):
        size += len(block)
        if size > LONGEST_DOCUMENT:
            return None
        blocks.append(block)
    return b"".join(blocks)
