"""Files that a crash cannot tear, on disks that are really full."""

import errno
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from megatron_lrps.errors import EXIT_STORAGE, StorageError
from megatron_lrps.storage.files import append_line, read_json, read_lines, replacing, write_atomic


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# In a process of its own: RLIMIT_FSIZE is a disk that takes no more than so many bytes of a file.
LIMITED = """
import resource, sys
from pathlib import Path
from megatron_lrps.errors import StorageError
from megatron_lrps.storage.files import append_line, write_atomic
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
file = Path(sys.argv[3])
try:
    if sys.argv[2] == "write":
        write_atomic(file, "n" * 100_000)
    else:
        append_line(file, {"event": "n" * 100_000})
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def on_a_full_disk(how: str, file: Path, limit: int = 4096) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", LIMITED, str(limit), how, str(file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)


# write_atomic


def test_write_atomic_replaces_and_makes_folders(tmp_path: Path) -> None:
    file = tmp_path / "a/b/plan.yaml"
    write_atomic(file, "old\n")
    write_atomic(file, "new ü\r\n")
    assert file.read_bytes() == "new ü\r\n".encode()  # as given: no newline is translated
    assert names_in(file.parent) == ["plan.yaml"]


def test_a_team_can_read_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomic(tmp_path / "path.json", "{}")
    assert (tmp_path / "path.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_full_disk_leaves_the_old_text(tmp_path: Path) -> None:
    file = tmp_path / "path.json"
    write_atomic(file, "old")
    done = on_a_full_disk("write", file)
    assert done.returncode == EXIT_STORAGE == 74
    assert f"{file} could not be written: File too large" in done.stdout
    assert "Fix: Free space" in done.stdout
    assert file.read_text() == "old"
    assert names_in(tmp_path) == ["path.json"]  # and no temporary file takes the rest of the room


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("not a folder")
    for file in (tmp_path / "tensorboard/main/events", tmp_path / "tensorboard/events"):
        for write in (partial(write_atomic, content="x"), partial(append_line, record={})):
            with pytest.raises(StorageError) as refused:
                write(file)
            assert refused.value.fix.startswith(f"Move {tmp_path / 'tensorboard'} away, because it is not a folder")


def test_a_disk_that_is_only_read_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError, match="Read-only file system") as refused:
        write_atomic(tmp_path / "plan.yaml", "x")
    assert refused.value.fix == f"Make {tmp_path} writable, and run the command again."


def test_a_full_disk_leaves_no_first_text(tmp_path: Path) -> None:
    assert on_a_full_disk("write", tmp_path / "path.json").returncode == EXIT_STORAGE
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("how", ["write", "append"])
def test_a_really_full_file_system(tmp_path: Path, how: str) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs unshare, to mount a small file system for one process")
    # The mount is gone with its process. Exit code 99: mounting is not allowed here.
    script = f"""
mount -t tmpfs -o size=64k none "$0" 2>/dev/null || exit 99
echo '{{"old": 1}}' > "$0/file"
"$1" -c "$2" 0 {how} "$0/file"; echo "code $?"
head -c 11 "$0/file"
ls -A "$0"
"""
    argv = ["unshare", "--mount", "bash", "-c", script, str(tmp_path), sys.executable, LIMITED]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("needs the right to mount a file system")
    message, *rest = done.stdout.splitlines()
    assert "could not be written: No space left on device" in message
    assert rest == ["code 74", '{"old": 1}', "file"]


@pytest.mark.parametrize("obstacle", ["a file as its folder", "a folder in its place"])
def test_write_atomic_names_what_is_in_the_way(tmp_path: Path, obstacle: str) -> None:
    file = tmp_path / "folder/path.json"
    if obstacle == "a folder in its place":
        file.mkdir(parents=True)
    else:
        file.parent.touch()
    with pytest.raises(StorageError, match=r"path\.json could not be written: .*(exists|directory)") as caught:
        write_atomic(file, "text")
    assert caught.value.exit_code == EXIT_STORAGE
    assert names_in(tmp_path) == ["folder"]
    assert not file.parent.is_dir() or names_in(file.parent) == ["path.json"]


# replacing


def test_replacing_gives_all_files_their_names_at_the_end(tmp_path: Path) -> None:
    data, index = tmp_path / "a/x.bin", tmp_path / "a/x.idx"
    with replacing(data, index) as (new_data, new_index):
        new_data.write_text("data")
        new_index.write_text("index")
        assert names_in(data.parent) == [".x.bin.tmp", ".x.idx.tmp"]
    assert (data.read_text(), index.read_text()) == ("data", "index")
    assert names_in(data.parent) == ["x.bin", "x.idx"]


def test_a_block_that_fails_leaves_the_old_files_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("old")

    def write(error: Exception) -> None:
        with replacing(file) as (new,):
            new.write_text("new")
            raise error

    with pytest.raises(ValueError, match="no text"):
        write(ValueError("no text"))
    with pytest.raises(StorageError, match=f"{file} could not be written: Full"):
        write(OSError(errno.ENOSPC, "Full"))
    assert file.read_text() == "old"
    assert names_in(tmp_path) == ["x"]


# append_line and read_lines


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    file = tmp_path / "a/events.jsonl"
    records = [{"event": "saved", "iteration": i, "text": "ü\n\u2028\x85 \x0b"} for i in range(3)]
    for record in records:
        append_line(file, record)
    assert read_lines(file) == records
    assert file.read_bytes().count(b"\n") == 3


def test_no_file_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "events.jsonl") == []
    assert read_lines(tmp_path) == []


@pytest.mark.parametrize(
    "torn",
    [
        b'{"event": "sav',
        b"\x00" * 512,
        b"\xff\xfe\x80",
        b"not json",
        b"[1, 2]",
        b"3",
        b"null",
        b"",
        b"[" * 100_000,
        b"9" * 5000,
    ],
    ids=lambda torn: repr(torn[:12]),
)
def test_torn_lines_are_left_out(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"event": "first"}\n' + torn + b'\n{"event": "last"}\n' + torn)
    assert read_lines(file) == [{"event": "first"}, {"event": "last"}]


def test_a_torn_last_line_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    append_line(file, {"event": "first"})
    whole = file.read_bytes()
    for cut in range(1, len(whole)):
        file.write_bytes(whole + whole[:cut])
        append_line(file, {"event": "last"})
        append_line(file, {"event": "very last"})
        events = [record["event"] for record in read_lines(file)]
        # The line that lacks only its newline is whole.
        assert events == ["first", *["first"] * (cut == len(whole) - 1), "last", "very last"]


def test_a_line_that_the_disk_takes_in_part_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    append_line(file, {"event": "first"})
    done = on_a_full_disk("append", file)
    assert done.returncode == EXIT_STORAGE
    assert f"{file} could not be written" in done.stdout
    append_line(file, {"event": "after making room"})
    assert [record["event"] for record in read_lines(file)] == ["first", "after making room"]


def test_append_names_what_is_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written: Is a directory"):
        append_line(tmp_path, {"event": "x"})


# read_json


def test_read_json(tmp_path: Path) -> None:
    write_atomic(tmp_path / "path.json", json.dumps({"a": [1, "ü"]}))
    assert read_json(tmp_path / "path.json") == {"a": [1, "ü"]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"a": 1',
        b"[1]",
        b"3",
        b"null",
        b"\xff\xfe",
        b"\x00" * 64,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_json_object_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "path.json").write_bytes(content)
    assert read_json(tmp_path / "path.json") is None


def test_what_is_no_file_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "path.json") is None
    assert read_json(tmp_path) is None
