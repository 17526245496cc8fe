"""What a record may be besides whole: torn, forged, no file at all; and disks that refuse or lack links."""

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.storage.owner import UNKNOWN
from megatron_lrps.storage.ownership import acquire, holder
from tests.storage.owners import BEAT_S, Said, holding, me, names_in, plant, taken

GARBAGE = [
    b"",
    b"{",
    b"[]",
    b'"host"',
    b"\xff\xfe{}",
    b"[" * 60_000,
    b"x" * 10_000_000,
    json.dumps({"host": "node7"}).encode(),
    *(
        json.dumps({**asdict(me()), **change}).encode()
        for change in (
            {"pid": 0},
            {"pid": True},
            {"pid": 2**31},
            {"pid": "1"},
            {"start": -1},
            {"boot": ["x"]},
            {"host": {"a": 1}},
            {"host": "\x1b[2J"},
            {"since": "x" * 1000},
            {"token": None},
            {"restart": 1.5},
            {"beat_s": 1e9},
            {"beat_s": float("nan")},
            {"beat_s": "1"},
        )
    ),
]


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_an_unreadable_record_is_a_holder_until_it_is_old(folder: Path, content: bytes, said: Said) -> None:
    plant(folder, content)
    assert holder(folder) == UNKNOWN
    plant(folder, content, age_s=61)
    assert holder(folder) is None
    taken(folder, said)
    (line,) = said
    assert line.startswith("main: taken over from an unknown process (its record is not readable): its last heartbeat")


def test_an_unreadable_record_that_is_touched_is_somebodys(folder: Path, said: Said) -> None:
    file = plant(folder, b"{")
    stop = threading.Event()

    def touch() -> None:
        while not stop.wait(BEAT_S):
            os.utime(file)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        with pytest.raises(RefusedError, match="see who writes there"):
            acquire(folder, beat_s=BEAT_S, say=said.append)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("make", [os.mkfifo, lambda file: file.symlink_to("nowhere")])
def test_what_is_no_file_is_replaced_when_it_is_old(folder: Path, said: Said, make: Callable[[Path], None]) -> None:
    folder.mkdir(parents=True)
    make(folder / "owner.json")
    os.utime(folder / "owner.json", (1, 1), follow_symlinks=False)
    taken(folder, said)
    assert len(said) == 1


def test_a_folder_in_the_records_place_is_named(folder: Path) -> None:
    (folder / "owner.json").mkdir(parents=True)
    os.utime(folder / "owner.json", (1, 1))
    with pytest.raises(StorageError, match="Is a directory"):
        acquire(folder, say=print)
    assert names_in(folder) == ["owner.json"]


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not be taken by process \d+ .*: Not a directory"):
        acquire(tmp_path / "file" / "main", say=print)


def test_a_file_system_without_links_has_one_writer_too(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with holding(folder), pytest.raises(RefusedError):
        acquire(folder, say=said.append)
    taken(folder, said)  # the killed one's
    assert len(said) == 1
    taken(folder, said)


def test_a_link_that_nfs_made_but_reports_as_failed_counts(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(self: Path, target: Path) -> None:
        os.link(target, self)
        raise FileExistsError

    monkeypatch.setattr(Path, "hardlink_to", link)
    taken(folder, said)
    assert said == []
