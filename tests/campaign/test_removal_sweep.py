"""Removal itself: its order, kills and faults in the middle of it."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.pins import add_pin
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.removal import size_on_disk, sweep
from megatron_lrps.errors import EXIT_STORAGE, StorageError
from tests.campaign.campaigns import TRASH, Campaign


def test_oldest_first_and_each_in_the_history(campaign: Campaign) -> None:
    campaign.save("main", 500, 200, 600)
    campaign.save("v1", 450, 700)
    campaign.save("v1", 300, whole=False)
    assert campaign.collect() == [("main", 200), ("v1", 300), ("v1", 450), ("main", 500)]
    assert (campaign.names("main"), campaign.names("v1")) == (["iter_0000600"], ["iter_0000700"])
    history = [(e["event"], e["iteration"], e["reason"]) for e in events(campaign["v1"])]
    assert history == [("deleted", 300, "torn: its save was cut off"), ("deleted", 450, "nothing needs it")]
    assert campaign.doomed() == []


def test_the_new_name_is_durable_before_any_file_goes(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.save("main", 200, 600)
    steps: list[str] = []
    for name in ("rename", "fsync", "unlink"):  # Path.rename and shutil.rmtree call these
        step = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, s=step, **k: (steps.append(n), s(*a, **k))[1])
    assert campaign.collect() == [("main", 200)]
    # The folder's names, then the line in the history, and then the two files.
    assert steps == ["rename", "fsync", "fsync", "unlink", "unlink"]


def test_leftovers_are_finished_first(campaign: Campaign) -> None:
    campaign.save("main", 50, 600)
    leftover = campaign["main"].checkpoints / TRASH
    leftover.mkdir()
    (leftover / ".metadata").write_text("x")
    (leftover / "metadata.json").write_text("x")
    assert campaign.saved("main") == [50, 600]  # it looks like nothing
    assert campaign.collect() == [("main", 100), ("main", 50)]
    assert campaign.names("main") == ["iter_0000600"]


def test_what_became_needed_meanwhile_is_left_alone(campaign: Campaign) -> None:
    campaign.save("main", 100, 200, 300, 600)
    doomed = campaign.doomed()
    assert [each.iteration for each in doomed] == [100, 200, 300]
    gone = []
    for verdict in sweep(campaign.campaign, doomed):
        gone.append(verdict.iteration)
        if verdict.iteration == 100:
            add_pin(campaign["main"], 200, "just in time")
    assert gone == [100, 300]
    assert campaign.saved("main") == [200, 600]


def test_two_at_a_time(campaign: Campaign) -> None:
    old = list(range(1, 41))
    campaign.save("main", *old, 600)
    doomed = campaign.doomed()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: [each.iteration for each in sweep(campaign.campaign, doomed)], range(2))
    assert sorted(first + second) == old
    assert min(len(first), len(second)) > 0
    assert campaign.names("main") == ["iter_0000600"]
    assert sorted(event["iteration"] for event in events(campaign["main"])) == old


def test_files_that_vanish_under_it_are_no_failure(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.save("main", 100, 600)
    unlink = os.unlink

    def twice(*args: Any, **keys: Any) -> None:
        unlink(*args, **keys)
        unlink(*args, **keys)

    monkeypatch.setattr(os, "unlink", twice)
    assert campaign.collect() == [("main", 100)]
    assert campaign.names("main") == ["iter_0000600"]


def test_what_the_system_refuses_is_one_line(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.save("main", 100, 200, 600)

    def refusing(trash: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", f"{trash}/x")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refusing)
        with pytest.raises(StorageError) as failure:
            campaign.collect()
    assert failure.value.exit_code == EXIT_STORAGE
    assert "\n" not in str(failure.value)
    assert "iter_0000100 could not be deleted: Permission denied (" in str(failure.value)
    assert "Fix: fix that; the same command then finishes it." in str(failure.value)
    assert campaign.saved("main") == [200, 600]
    assert campaign.collect() == [("main", 100), ("main", 200)]
    assert campaign.names("main") == ["iter_0000600"]


def test_size_on_disk_is_that_of_du(tmp_path: Path) -> None:
    for name, size in (("a/b/c", 10_000), ("a/d", 1), ("e", 0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "a/link").symlink_to("/usr")
    # du counts the folder itself too.
    du = subprocess.run(["du", "-s", "-B1", str(tmp_path)], capture_output=True, text=True, check=True).stdout.split()
    assert size_on_disk(tmp_path) + tmp_path.stat().st_blocks * 512 == int(du[0])
    assert size_on_disk(tmp_path / "nothing") == 0


FULL = """
mount -t tmpfs -o size=64k none "$0" 2>/dev/null || exit 99
cp -r "$1" "$0/runs"
case "$3" in
  full) cat /dev/zero > "$0/rest" 2>/dev/null;;
  read-only) mount -o remount,ro "$0";;
esac
"$2" -m megatron_lrps.cli gc "$0.yaml" --yes; echo "code $?"
ls -A "$0/runs/c/paths/main/checkpoints"; cat "$0/runs/c/paths/main/events.jsonl"
"""


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_on_a_full_disk_it_makes_room(campaign: Campaign, tmp_path: Path, how: str) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs unshare, to mount a small file system for one process")
    campaign.save("main", 100, 600)
    (Checkpoint(campaign["main"].checkpoints, 100).folder / "weights").write_bytes(b"x" * 20_000)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk.yaml").write_text(campaign.plan.read_text().replace("runs/c", "disk/runs/c"))
    argv = ["unshare", "--mount", "bash", "-c", FULL, str(tmp_path / "disk"), str(tmp_path / "runs"), sys.executable]
    done = subprocess.run([*argv, how], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("needs the right to mount a file system")
    if how == "full":
        assert "deleted main 100\nFreed 28.0 KiB.\ncode 0\niter_0000600\n" in done.stdout  # 20 KiB, 4 and 4
        assert '"event": "deleted", "iteration": 100' in done.stdout
    else:
        assert f"code {EXIT_STORAGE}\niter_0000100\niter_0000600\n" in done.stdout
        assert done.stderr.startswith("lrps: ")
        assert "iter_0000100 could not be deleted: Read-only file system" in done.stderr


# Crashes

# SIGKILL just before the n-th change on disk that gc makes: a rename, a line in the history, a file or folder removed.
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def hook(event, args):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir") or event == "open" and str(args[0]).endswith("events.jsonl") \\
            and args[1] != "r":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from megatron_lrps.cli.app import main
main()
"""


def killed_before(change: int, plan: Path) -> int:
    argv = [sys.executable, "-c", KILLED, str(change), "gc", str(plan), "--yes"]
    return subprocess.run(argv, capture_output=True, timeout=300, check=False).returncode


def test_killed_before_any_of_its_changes(tmp_path: Path) -> None:
    # Per checkpoint: a rename, a line, two files and a folder; the leftover needs no rename and has one file.
    changes = 2 * 5 + 3
    for change in range(1, changes + 2):
        root = tmp_path / str(change)
        root.mkdir()
        campaign = Campaign(root)
        campaign.save("main", 200, 300, 400, 600)
        (campaign["main"].checkpoints / TRASH).mkdir()
        (campaign["main"].checkpoints / TRASH / ".metadata").write_text("x")
        ended = killed_before(change, campaign.plan)
        assert ended == (0 if change > changes else -signal.SIGKILL)
        # Oldest first, none half-deleted under its own name, and none that is needed gone.
        saved = Checkpoints.in_folder(campaign["main"].checkpoints)
        complete = saved.complete
        assert not saved.torn
        assert complete == (200, 300, 400, 600)[4 - len(complete) :]
        assert {400, 600} <= set(complete)
        for iteration in complete:
            folder = Checkpoint(campaign["main"].checkpoints, iteration).folder
            assert sorted(entry.name for entry in folder.iterdir()) == [".metadata", "metadata.json"]
        others = [name for name in campaign.names("main") if not name.startswith("iter_")]
        assert all(name.startswith(".trash-iter_0000") for name in others)
        # The next one finishes, and the history tells of every one.
        list(sweep(campaign.campaign, campaign.doomed()))
        assert campaign.names("main") == ["iter_0000400", "iter_0000600"]
        assert {event["iteration"] for event in events(campaign["main"])} == {100, 200, 300}


# Any campaign
