"""What gc sees on disk, and what is left of it after any crash, full disk or race."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.errors import EXIT_STORAGE, RefusedError, StorageError
from megatron_lrps.plan import Tree, expand, parse_plan, plan_text
from megatron_lrps.versions.files import write_atomic
from megatron_lrps.versions.folder import CampaignFolder, PathFolder, checkpoint, checkpoints_in
from megatron_lrps.versions.keep import Verdict
from megatron_lrps.versions.lineage import events, log_event, write_record
from megatron_lrps.versions.manifest import take_sizes
from megatron_lrps.versions.pins import add_pin, drop_pin, read_pins
from megatron_lrps.versions.removal import TRACKER, judge, size_on_disk, sweep
from tests.plan.plans import plan_dict
from tests.versions import checkpoints

KEYS: dict[str, Any] = {"keep": {"latest": 1}}
TRASH = ".trash-iter_0000100-0123abcd"


class Campaign:
    """main (0, 1400], v1 (400, 1000], v2 (1400, 2000], of which only the newest are kept."""

    def __init__(self, root: Path, **keys: Any) -> None:
        self.plan = root / "plan.yaml"
        self.plan.write_text(yaml.safe_dump(plan_dict(**KEYS | keys), sort_keys=False))
        self.tree = expand(parse_plan(self.plan.read_text(), base=root))
        self.folder = CampaignFolder(self.tree.plan.folder)

    def __getitem__(self, path: str) -> PathFolder:
        return self.folder.path(path)

    def save(self, path: str, *iterations: int, whole: bool = True) -> None:
        checkpoints.save(self[path].checkpoints, *iterations, whole=whole)

    def saved(self, path: str) -> list[int]:
        return checkpoints_in(self[path].checkpoints)[0]

    def names(self, path: str) -> list[str]:
        return sorted(entry.name for entry in self[path].checkpoints.iterdir())

    def doomed(self) -> list[Verdict]:
        return [verdict for verdict in judge(self.tree) if not verdict.keep]

    def goes(self, path: str) -> list[int]:
        return [verdict.iteration for verdict in self.doomed() if verdict.path == path]

    def reason(self, path: str, iteration: int) -> str:
        return next(each.reason for each in judge(self.tree) if (each.path, each.iteration) == (path, iteration))

    def collect(self) -> list[tuple[str, int]]:
        return [(verdict.path, verdict.iteration) for verdict in sweep(self.tree, self.doomed())]


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


# What gc sees


def test_nothing_there(campaign: Campaign) -> None:
    assert judge(campaign.tree) == []
    campaign["main"].logs.mkdir(parents=True)
    assert judge(campaign.tree) == []


def test_paths_in_the_plans_order_and_then_the_others(campaign: Campaign) -> None:
    for path in ("v1", "main", "an-old-one"):
        campaign.save(path, 300, 200)
    assert [(each.path, each.iteration, each.keep) for each in judge(campaign.tree)] == [
        ("main", 200, False),
        ("main", 300, True),
        ("v1", 200, False),
        ("v1", 300, True),
        ("an-old-one", 200, True),
        ("an-old-one", 300, True),
    ]


def test_the_accepted_plan_protects_too(campaign: Campaign, tmp_path: Path) -> None:
    campaign.save("main", 400, 600, 800)
    assert campaign.goes("main") == [600]
    accepted = parse_plan(yaml.safe_dump(plan_dict(decay={"alpha": 0.4})), base=tmp_path)  # v1 forks at 600
    write_atomic(campaign.folder.plan, plan_text(accepted))
    assert campaign.goes("main") == []


def test_a_damaged_accepted_plan_is_refused(campaign: Campaign) -> None:
    campaign.save("main", 200, 600)
    write_atomic(campaign.folder.plan, "campaign: c\nsave: s\n")
    with pytest.raises(RefusedError, match=r"accepted plan .*plan\.yaml is damaged, .* missing .* Mend: restore it"):
        judge(campaign.tree)


def test_released_versions_give_their_fork_points_back(campaign: Campaign) -> None:
    campaign.save("main", 400, 600)
    campaign.save("v1", 1000)
    assert campaign.goes("main") == []
    write_record(campaign["v1"], {"parent": "main", "fork": 400, "end": 1000, "released": "2026-11-24"})
    assert campaign.goes("main") == [400]
    campaign["v1"].record.write_text("{torn")
    assert campaign.goes("main") == []


@pytest.mark.parametrize(
    "record", ["", "{", "[]", '{"parent": 1, "fork": 400}', '{"parent": "main", "fork": "400"}', '{"end": null}']
)
def test_a_removed_version_without_a_readable_record_is_refused(campaign: Campaign, record: str) -> None:
    campaign.save("main", 200, 600)
    campaign.save("v9", 700)
    assert campaign.goes("main") == [200]  # no record was ever written
    campaign["v9"].record.write_text(record)
    with pytest.raises(RefusedError, match=r"path\.json cannot be read and no plan names v9, .* Mend: restore it"):
        judge(campaign.tree)
    write_record(campaign["v9"], {"parent": "main", "fork": 200, "end": 800})
    assert campaign.goes("main") == []


@pytest.mark.parametrize(
    ("tracker", "kept"),
    [("400", True), (" 400\n", True), ("600", False), ("", False), ("release", False), ("4\u00e400", False)],
)
def test_what_the_tracker_names_stays(tmp_path: Path, tracker: str, kept: bool) -> None:
    campaign = Campaign(tmp_path, versions=[{"name": "v2", "iters": 2000}])  # v2 forks at 800
    campaign.save("main", 400, 600)
    (campaign["main"].checkpoints / TRACKER).write_bytes(tracker.encode("latin-1"))
    assert (campaign.goes("main") == []) == kept
    if kept:
        assert campaign.reason("main", 400) == f"{TRACKER} names it, where stock Megatron resumes"


def test_a_torn_one_that_the_tracker_names_stays(campaign: Campaign) -> None:
    campaign.save("main", 200, whole=False)
    campaign.save("main", 600)
    assert campaign.goes("main") == [200]
    (campaign["main"].checkpoints / TRACKER).write_text("200")
    assert campaign.goes("main") == []


def test_files_that_a_resume_would_miss_do_not_count(campaign: Campaign) -> None:
    campaign.save("main", 200, 300, 500, 600)
    for iteration in (200, 600):
        folder = checkpoint(campaign["main"].checkpoints, iteration)
        (folder / "common.pt").write_text("weights")
        take_sizes(folder)
        (folder / "common.pt").write_text("weigh")
    assert campaign.goes("main") == [200, 300]  # 200 is damaged as well, and is not looked at
    assert campaign.reason("main", 500) == "the newest"
    assert campaign.reason("main", 600) == "damaged: common.pt has 5 bytes, it was saved with 7"


def test_what_the_last_start_could_not_use_does_not_count(campaign: Campaign) -> None:
    main = campaign["main"]
    campaign.save("main", 200, 300, 500, 600)
    campaign.save("main", 550, whole=False)
    log_event(main, "started", iteration=0)
    assert campaign.goes("main") == [200, 300, 500, 550]
    log_event(main, "skipped", iteration=600, reason="x has other content than it was saved with")
    assert campaign.goes("main") == [200, 300]
    log_event(main, "started", iteration=500)
    assert campaign.goes("main") == [200, 300]  # 550 may be being saved
    log_event(main, "saved", iteration=550)
    assert campaign.goes("main") == [200, 300]
    log_event(main, "saved", iteration=600)
    assert campaign.goes("main") == [200, 300, 500, 550]


def test_a_start_that_skips_nothing_forgets_what_was_skipped(campaign: Campaign) -> None:
    campaign.save("main", 500, 600)
    log_event(campaign["main"], "skipped", iteration=600, reason="damaged")
    log_event(campaign["main"], "started", iteration=500)
    assert campaign.goes("main") == []
    log_event(campaign["main"], "started", iteration=600)  # somebody has restored it
    assert campaign.goes("main") == [500]


def test_other_folders_are_left_alone(campaign: Campaign) -> None:
    campaign.save("main", 200, 600)
    for name in ("iter_0000100.bak", "iter_100", "iter_00000100", "release", ".trash-iter_0000100", ".trash-mine"):
        (campaign["main"].checkpoints / name).mkdir()
    (campaign["main"].checkpoints / "iter_0000150").touch()
    before = campaign.names("main")
    assert campaign.collect() == [("main", 200)]
    assert campaign.names("main") == [name for name in before if name != "iter_0000200"]


def test_a_disk_that_does_not_answer_is_no_torn_checkpoint(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.save("main", 200, 600)
    silent = checkpoint(campaign["main"].checkpoints, 200) / ".metadata"
    stat = Path.stat

    def failing(self: Path, **keys: Any) -> os.stat_result:
        if self == silent:
            raise OSError(5, "Input/output error", str(self))
        return stat(self, **keys)

    monkeypatch.setattr(Path, "stat", failing)
    assert checkpoints_in(campaign["main"].checkpoints) == ([600], [200])
    with pytest.raises(StorageError, match=r"iter_0000200/\.metadata could not be read: Input/output error\. Mend:"):
        judge(campaign.tree)


# Symbolic links


def test_a_linked_checkpoint_is_neither_followed_nor_deleted(campaign: Campaign, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "elsewhere", 200)
    campaign.save("main", 600)
    checkpoint(campaign["main"].checkpoints, 200).symlink_to(checkpoint(tmp_path / "elsewhere", 200))
    assert campaign.goes("main") == []
    assert campaign.reason("main", 200) == "reached through a symbolic link, which gc does not follow"
    assert size_on_disk(checkpoint(campaign["main"].checkpoints, 200)) == 0


@pytest.mark.parametrize("link", ["paths/main", "paths/main/checkpoints", "paths"])
def test_nothing_outside_of_the_campaign_is_deleted(campaign: Campaign, tmp_path: Path, link: str) -> None:
    campaign.save("main", 200, 600)
    (campaign["main"].checkpoints / TRASH).mkdir()
    place = campaign.folder.root / link
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert campaign.doomed() == []
    assert campaign.collect() == []
    assert campaign.saved("main") == [200, 600]


def test_a_campaign_may_itself_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch/c").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "scratch")
    campaign = Campaign(tmp_path)
    campaign.save("main", 200, 600)
    assert campaign.collect() == [("main", 200)]


@pytest.mark.parametrize("name", ["best", "../../v1/checkpoints/iter_0000700"])
def test_what_a_link_leads_to_stays(campaign: Campaign, name: str) -> None:
    campaign.save("main", 200, 600)
    link = campaign["main"].checkpoints / name
    campaign["v1"].checkpoints.mkdir(parents=True)
    link.symlink_to(Path("../../main/checkpoints/iter_0000200"))
    assert campaign.goes("main") == []
    assert "the symbolic link " in campaign.reason("main", 200)
    link.unlink()
    assert campaign.goes("main") == [200]


def test_a_link_in_a_checkpoint_is_deleted_and_not_followed(campaign: Campaign, tmp_path: Path) -> None:
    campaign.save("main", 200, 600)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis").touch()
    (checkpoint(campaign["main"].checkpoints, 200) / "link").symlink_to(tmp_path / "mine")
    assert campaign.collect() == [("main", 200)]
    assert (tmp_path / "mine/thesis").exists()


# Pins


def test_a_pin_keeps_a_checkpoint(campaign: Campaign) -> None:
    main = campaign["main"]
    campaign.save("main", 100, 200, 600)
    add_pin(main, 200, "best loss")
    add_pin(main, 100, "")
    assert campaign.goes("main") == []
    assert (campaign.reason("main", 100), campaign.reason("main", 200)) == ("pinned", "pinned: best loss")
    add_pin(main, 200, "two\nlines")
    assert campaign.reason("main", 200) == "pinned: 'two\\nlines'"
    assert list(read_pins(main)) == [100, 200]
    drop_pin(main, 200)
    assert campaign.goes("main") == [200]
    drop_pin(main, 100)
    assert campaign.goes("main") == [100, 200]


def test_only_what_is_complete_can_be_pinned(campaign: Campaign) -> None:
    campaign.save("main", *range(100, 1300, 100))
    campaign.save("main", 1300, whole=False)
    with pytest.raises(RefusedError, match=r"450 of main does not exist; there are 100, 200, .*, 700, 800\. Mend: pin"):
        add_pin(campaign["main"], 450, "")  # the eight nearest
    with pytest.raises(RefusedError, match=r"1300 of main is not whole; there are 500, .*, 1200\."):
        add_pin(campaign["main"], 1300, "")
    with pytest.raises(RefusedError, match=r"there are none\."):
        add_pin(campaign["v1"], 450, "")
    assert not (campaign["main"].root / "pins.json").exists()


def test_removing_a_pin_needs_one_and_no_checkpoint(campaign: Campaign) -> None:
    campaign.save("main", 200)
    with pytest.raises(RefusedError, match=r"Checkpoint 200 of main is not pinned; none are"):
        drop_pin(campaign["main"], 200)
    add_pin(campaign["main"], 200, "")
    with pytest.raises(RefusedError, match=r"Checkpoint 300 of main is not pinned; 200 are"):
        drop_pin(campaign["main"], 300)
    shutil.rmtree(campaign["main"].checkpoints)
    drop_pin(campaign["main"], 200)
    assert read_pins(campaign["main"]) == {}


PIN = '{"iteration": 200, "note": "", "time": ""}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"pins": [' + PIN,
        "[]",
        "{}",
        '{"pins": {}}',
        '{"pins": [3]}',
        f'{{"pins": [{PIN}, null]}}',
        f'{{"pins": [{PIN}, {PIN.replace("200", "true")}]}}',
        f'{{"pins": [{PIN}, {PIN.replace("200", "2e2")}]}}',
        f'{{"pins": [{PIN.replace("note", "notes")}]}}',
        '{"pins": [{"iteration": 200}]}',
        '{"pins": [{"iteration": 200, "note": null, "time": ""}]}',
        "a link to nothing",
        "a folder",
    ],
)
def test_pins_that_cannot_be_read_are_refused(campaign: Campaign, text: str) -> None:
    campaign.save("main", 200, 600)
    file = campaign["main"].root / "pins.json"
    if text == "a link to nothing":
        file.symlink_to("nothing")
    elif text == "a folder":
        file.mkdir()
    else:
        file.write_text(text)
    for attempt in (
        lambda: judge(campaign.tree),
        lambda: add_pin(campaign["main"], 200, ""),
        lambda: drop_pin(campaign["main"], 200),
    ):
        with pytest.raises(RefusedError, match=r"pins\.json cannot be read as pins, .* Mend: restore it; or remove"):
            attempt()
    assert campaign.saved("main") == [200, 600]


def test_pins_as_they_are_written(campaign: Campaign) -> None:
    campaign.save("main", 200)
    add_pin(campaign["main"], 200, "ü")
    (pin,) = json.loads((campaign["main"].root / "pins.json").read_text())["pins"]
    assert (pin["iteration"], pin["note"]) == (200, "ü")
    assert pin["time"].endswith("+00:00")


# Deleting


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
    for verdict in sweep(campaign.tree, doomed):
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
        first, second = pool.map(lambda _: [each.iteration for each in sweep(campaign.tree, doomed)], range(2))
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
    assert "Mend: mend that; the same command then finishes it." in str(failure.value)
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
    (checkpoint(campaign["main"].checkpoints, 100) / "weights").write_bytes(b"x" * 20_000)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk.yaml").write_text(campaign.plan.read_text().replace("runs/c", "disk/runs/c"))
    argv = ["unshare", "--mount", "bash", "-c", FULL, str(tmp_path / "disk"), str(tmp_path / "runs"), sys.executable]
    done = subprocess.run([*argv, how], capture_output=True, text=True, timeout=60, check=False)
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
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode


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
        complete, torn = checkpoints_in(campaign["main"].checkpoints)
        assert torn == []
        assert complete == [200, 300, 400, 600][4 - len(complete) :]
        assert {400, 600} <= set(complete)
        for iteration in complete:
            folder = checkpoint(campaign["main"].checkpoints, iteration)
            assert sorted(entry.name for entry in folder.iterdir()) == [".metadata", "metadata.json"]
        others = [name for name in campaign.names("main") if not name.startswith("iter_")]
        assert all(name.startswith(".trash-iter_0000") for name in others)
        # The next one finishes, and the history tells of every one.
        list(sweep(campaign.tree, campaign.doomed()))
        assert campaign.names("main") == ["iter_0000400", "iter_0000600"]
        assert {event["iteration"] for event in events(campaign["main"])} == {100, 200, 300}


# Any campaign


@st.composite
def campaigns(draw: st.DrawFn) -> dict[str, Any]:
    """Paths as `paths:` lists them, what each has saved, and what is pinned and released."""
    end = 100 * draw(st.integers(3, 12))
    paths = [{"name": "main", "end": end, "schedule": [{"kind": "hold"}]}]
    for number in range(1, draw(st.integers(1, 4)) + 1):
        parent = draw(st.sampled_from(paths))
        forks = range(parent.get("fork", 0) + 100, parent["end"] + 1, 100)
        fork = draw(st.sampled_from(forks))
        end = fork + 100 * draw(st.integers(1, 5))
        hold = [{"kind": "hold"}]
        paths.append({"name": f"p{number}", "parent": parent["name"], "fork": fork, "end": end, "schedule": hold})
    drawn: dict[str, Any] = {"paths": paths, "keep": {"latest": draw(st.integers(1, 3))}}
    if draw(st.booleans()):
        drawn["keep"]["every"] = draw(st.sampled_from([200, 300, 700]))
    drawn["saved"], drawn["torn"], drawn["pins"] = {}, {}, {}
    for path in paths:
        own = list(range(path.get("fork", 0) + 100, path["end"] + 1, 100))
        states = draw(st.lists(st.sampled_from(["whole", "whole", "torn", "pinned", ""]), min_size=len(own)))
        by_state = {state: [i for i, s in zip(own, states, strict=False) if s == state] for state in set(states)}
        drawn["saved"][path["name"]] = sorted(by_state.get("whole", []) + by_state.get("pinned", []))
        drawn["torn"][path["name"]] = by_state.get("torn", [])
        drawn["pins"][path["name"]] = by_state.get("pinned", [])
    drawn["released"] = draw(st.sets(st.sampled_from([path["name"] for path in paths])))
    # What the plan names of it now; the rest is named by the accepted plan, or by its own record alone.
    drawn["given"] = draw(st.integers(1, len(paths)))
    drawn["accepted"] = draw(st.integers(0, len(paths)))
    return drawn


def needed_in(drawn: Mapping[str, Any]) -> set[tuple[str, int]]:
    """The checkpoints that may not go, by the rules and nothing else."""
    needed = set()
    for path in drawn["paths"]:
        name, saved = path["name"], drawn["saved"][path["name"]]
        needed |= {(name, path["end"])} | {(name, pin) for pin in drawn["pins"][name]}
        needed |= {(name, iteration) for iteration in saved[-1:]}
        if "parent" in path and not (name in drawn["released"] and path["end"] in saved):
            needed.add((path["parent"], path["fork"]))
    return needed


@settings(deadline=None, max_examples=60)
@given(campaigns())
def test_nothing_that_is_needed_ever_goes(drawn: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as root:
        paths, keep = drawn["paths"], drawn["keep"]
        campaign = Campaign(Path(root), paths=paths[: drawn["given"]], keep=keep)
        if drawn["accepted"]:
            accepted: Tree = Campaign(Path(root), paths=paths[: drawn["accepted"]]).tree
            write_atomic(campaign.folder.plan, plan_text(accepted.plan))
        for path in paths:
            name = path["name"]
            campaign.save(name, *drawn["saved"][name])
            campaign.save(name, *drawn["torn"][name], whole=False)
            record = {"parent": path.get("parent"), "fork": path.get("fork", 0), "end": path["end"]}
            write_record(campaign[name], record | ({"released": "today"} if name in drawn["released"] else {}))
            for pin in drawn["pins"][name]:
                add_pin(campaign[name], pin, "")
        campaign.collect()
        needed = needed_in(drawn)
        for path in paths:
            name, before = path["name"], drawn["saved"][path["name"]]
            left, torn = checkpoints_in(campaign[name].checkpoints)
            assert set(left) <= set(before)
            assert {i for i in before if (name, i) in needed} <= set(left)
            assert set(before[-keep["latest"] :]) <= set(left)
            assert {i for i in drawn["torn"][name] if i > max(before, default=0) or (name, i) in needed} <= set(torn)
            if name in [each["name"] for each in paths[: max(drawn["given"], drawn["accepted"])]]:
                chosen = set(before[-keep["latest"] :]) | {i for i in before if i % keep.get("every", 10**9) == 0}
                assert set(left) <= chosen | {i for at, i in needed if at == name} | {p["fork"] for p in removed(drawn)}
        assert campaign.doomed() == []


def removed(drawn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Paths that only their own record knows, whose fork points stay even when they are released."""
    return drawn["paths"][max(drawn["given"], drawn["accepted"]) :]
