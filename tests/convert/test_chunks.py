"""Bytes of a file, read past the page cache at any position, and as always where that is not possible."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
import torch

from megatron_lrps.convert.chunks import read_past_cache
from megatron_lrps.errors import RefusedError, StorageError

SIZE = 5 * 2**20 + 123


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(torch.randint(256, (SIZE,), dtype=torch.uint8).numpy().tobytes())
    return path


@pytest.mark.parametrize("position", [0, 1, 4095, 4096, 2**21 - 1, SIZE - 4096, SIZE - 7])
@pytest.mark.parametrize("length", [1, 4096, 4097, 2**21 + 4096, SIZE])
def test_any_range_is_read(position: int, length: int, file: Path) -> None:
    length = min(length, SIZE - position)
    target = torch.empty(length, dtype=torch.uint8)
    read_past_cache(file, position, target)
    assert target.numpy().tobytes() == file.read_bytes()[position : position + length]


def test_a_file_system_that_wants_the_cache_is_read_through_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv, asked = os.preadv, []

    def picky(descriptor: int, buffers: list[memoryview], position: int) -> int:  # a mock: ours all read past it
        asked.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
        if asked[-1] and len(asked) == 2:
            raise OSError(errno.EINVAL, "Invalid argument")
        return preadv(descriptor, buffers, position)

    monkeypatch.setattr(os, "preadv", picky)
    target = torch.empty(SIZE - 5, dtype=torch.uint8)
    read_past_cache(file, 5, target)
    assert target.numpy().tobytes() == file.read_bytes()[5:]
    assert not asked[-1]


def test_a_file_that_is_too_short_or_gone_is_refused(file: Path) -> None:
    with pytest.raises(RefusedError, match=f"data ends at byte {SIZE}"):
        read_past_cache(file, SIZE - 10, torch.empty(11, dtype=torch.uint8))
    with pytest.raises(StorageError, match="gone could not be read: No such file"):
        read_past_cache(file.with_name("gone"), 0, torch.empty(1))
