"""`lrps prepare` killed, stopped and on a full disk: the next run goes on, and the result is the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.data.prepare.job import stoppable
from megatron_lrps.errors import LrpsError, StoppedError
from tests.data.prepare import tokenizers_of
from tests.data.prepare.jobs import SAID, left_in, pair, prepare, write_jsonl, write_plan
from tests.data.prepare.tokenizers_of import TEXTS

PARTS = [text[begin : begin + 3000] for text in TEXTS for begin in range(0, len(text), 3000)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tokenizers_of.sentencepiece_bpe(tmp_path_factory.mktemp("tokenizer"))


JOB = """
import sys
from pathlib import Path
from tests.data.prepare.jobs import prepare
prepare(Path(sys.argv[1]), workers=2, shard_bytes=60_000)
"""


def start(plan: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", JOB, str(plan)], text=True, stderr=subprocess.PIPE)


def wait_for_parts(folder: Path, process: "subprocess.Popen[str]", count: int) -> None:
    end = time.monotonic() + 300
    while len(list(folder.glob("shard-*.json"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [child for number in map(int, found) for child in (number, *descendants(number))]


def gone(pids: list[int]) -> bool:
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def long_plan(tokenizer: dict[str, Any], tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "a.jsonl", PARTS * 20)
    return write_plan(tmp_path, tokenizer, {"data/a": "a.jsonl"})


def test_killed_in_the_middle_it_goes_on_and_gives_the_same_bytes(long_plan: Path, tmp_path: Path) -> None:
    work = tmp_path / "data" / ".a.prepare"
    first = start(long_plan)
    wait_for_parts(work, first, 5)
    children = descendants(first.pid)
    first.kill()
    first.wait()
    assert len(children) >= 2
    assert gone(children)
    assert not (tmp_path / "data" / "a.bin").exists()
    kept = len(list(work.glob("shard-*.json")))
    (found,) = prepare(long_plan, workers=2, shard_bytes=60_000)
    assert f"{kept} of {found.shards} shards are there already." in SAID
    resumed = pair(tmp_path / "data" / "a")
    (whole,) = prepare(write_plan(tmp_path, found_tokenizer(long_plan), {"data/b": "a.jsonl"}))
    assert whole.shards == 1
    assert pair(tmp_path / "data" / "b") == resumed
    assert left_in(tmp_path / "data") == [f"{name}.{end}" for name in "ab" for end in ("bin", "idx", "prepared.json")]


def found_tokenizer(plan: Path) -> dict[str, Any]:
    import yaml

    tokenizer: dict[str, Any] = yaml.safe_load(plan.read_text())["tokenizer"]
    return tokenizer


def test_a_killed_worker_is_one_line(long_plan: Path, tmp_path: Path) -> None:
    process = start(long_plan)
    wait_for_parts(tmp_path / "data" / ".a.prepare", process, 3)
    workers = [pid for pid in descendants(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert "A process that encodes was killed" in errors
    prepare(long_plan, workers=2, shard_bytes=60_000)
    assert "shards are there already." in SAID[0]


def test_ctrl_c_stops_with_75(long_plan: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "megatron_lrps.cli", "prepare", str(long_plan), "--workers", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(line, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]
    end = time.monotonic() + 300
    while not list((tmp_path / "data" / ".a.prepare").glob(".shard-*.tmp")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    children = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75
    assert errors.strip().splitlines()[-1].startswith("lrps: Stopped. Fix: Run the same command to continue")
    assert "Traceback" not in errors
    assert gone(children)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_keeps_what_is_done(tokenizer: dict[str, Any], tmp_path: Path, disk: Path) -> None:
    raw = write_jsonl(tmp_path / "a.jsonl", PARTS * 10)
    plan = write_plan(tmp_path, tokenizer, {"disk/a": str(raw)})
    with pytest.raises(LrpsError, match="No space left on device") as full:
        prepare(plan, shard_bytes=100_000)
    assert full.value.exit_code == 74
    assert left_in(disk) == [".a.prepare"]
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    (found,) = prepare(plan, shard_bytes=100_000)
    assert "shards are there already." in SAID[0]
    prepare(write_plan(tmp_path, tokenizer, {"data/b": str(raw)}))
    assert pair(disk / "a") == pair(tmp_path / "data" / "b")
    assert found.documents == 10 * len(PARTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_has_begun(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="Run the same command to continue"), stoppable():
        signal.raise_signal(number)
    assert signal.getsignal(signal.SIGTERM) is before
