"""The records of TensorBoard's event files, read from any place of a file that may still grow.

A record is a length, its checksum, data, and its checksum. TensorBoard writes them here; its reader takes whole files
alone, ends at the first damaged record, needs a third more time, and imports for longer than `lrps status` takes.
"""

import struct
from typing import BinaryIO

HEADER, FOOTER = 12, 4
"""Bytes before and after a record's data."""


def next_record(stream: BinaryIO) -> bytes | None:
    """Return the data of the record at the stream's position; None if they are damaged.

    Raises:
        EOFError: if no whole record follows: the end, half a record of a killed writer, or a crash's zeros. The
            stream's position is then undefined.
    """
    header = stream.read(HEADER)
    if len(header) < HEADER:
        raise EOFError
    length, check = struct.unpack("<QI", header)
    if checksum(header[:8]) != check:
        raise EOFError
    data, footer = stream.read(length), stream.read(FOOTER)
    if len(footer) < FOOTER:
        raise EOFError
    return data if checksum(data) == struct.unpack("<I", footer)[0] else None


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC32C = _crc32c_table()


def checksum(data: bytes) -> int:
    """Return the CRC-32C, masked as in TensorFlow's core/lib/hash/crc32c.h."""
    crc, table = 0xFFFFFFFF, _CRC32C
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
