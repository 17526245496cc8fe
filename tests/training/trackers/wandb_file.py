"""Reads what W&B writes offline: a log in LevelDB's format, of W&B's own protocol buffers."""

import struct
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def records(file: Path) -> list[Any]:
    """The records of a ``run-ID.wandb``, oldest first."""
    from wandb.proto import wandb_internal_pb2

    data, at, found, part = file.read_bytes(), 7, [], b""
    while at + _HEADER.size <= len(data):
        if (left := _BLOCK - at % _BLOCK) < _HEADER.size:
            at += left
            continue
        _, length, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        piece, at = data[at : at + length], at + length
        part = piece if kind in (_FULL, _FIRST) else part + piece
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            found.append(record)
    return found


def history(found: list[Any], name: str) -> dict[int, float]:
    """Step -> figure."""
    figures = {}
    for record in found:
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        if name in items:
            figures[int(items["_step"])] = float(items[name])
    return figures
