"""Lines and whole files, in bounded memory whatever the file holds."""

from collections.abc import Iterable, Iterator

from megatron_lrps.data.prepare.shards import Piece
from megatron_lrps.data.prepare.text_blocks import UTF8, Blocks

LONGEST_DOCUMENT = 64 * 2**20
"""Bytes; a longer line is passed over without being held."""


def lines(piece: Piece, encoding: str = UTF8, *, ends: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """Offset and bytes of each line of a piece; None for one of more than ``LONGEST_DOCUMENT``.

    A line ends in LF, CR LF or CR, as Python and with it Megatron's tool read text.

    Args:
        piece: The piece; a line belongs to the one that its first byte is in.
        encoding: Of its file.
        ends: Whether a line's end is given with it.

    Returns:
        Offsets are those of the unpacked and decoded file.
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
    for block in _uncut(Blocks(piece.file, encoding, offset)):
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
                if piece.end is not None and offset >= piece.end:
                    return
                if ends and end:
                    line += b"\n"
                elif not ends and not end:
                    line = line.rstrip(b"\r\n")
                yield offset, None if too_long or len(line) > LONGEST_DOCUMENT else line
            offset += length
            carry, carried, too_long = [], 0, False
    if carried and not skipping and (piece.end is None or offset < piece.end):
        yield offset, None if too_long else b"".join(carry)


def _uncut(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks none of which ends between a CR and its LF."""
    held = b""
    for block in blocks:
        whole = held + block if held else block
        held = b"\r" if whole.endswith(b"\r") else b""
        yield whole[:-1] if held else whole
    if held:
        yield held


def _parts(block: bytes) -> tuple[list[bytes], int]:
    """A block cut behind its line ends, and how many bytes each part lacks; the last one is not ended."""
    if b"\r" not in block:
        return block.split(b"\n"), 1  # several times as fast, and what nearly all files are
    parts = block.splitlines(keepends=True)
    if not parts or parts[-1].endswith((b"\r", b"\n")):
        parts.append(b"")
    return parts, 0


def whole(piece: Piece, encoding: str = UTF8) -> bytes | None:
    """A whole file's bytes, or None where they are more than ``LONGEST_DOCUMENT``."""
    blocks: list[bytes] = []
    size = 0
    for block in Blocks(piece.file, encoding):
        size += len(block)
        if size > LONGEST_DOCUMENT:
            return None
        blocks.append(block)
    return b"".join(blocks)
