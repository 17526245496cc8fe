"""Which checkpoints go and which stay, and why."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.checkpoint import TRACKER, Checkpoint, Checkpoints
from megatron_lrps.campaign.manifest import take_sizes
from megatron_lrps.campaign.record import log_event, write_record
from megatron_lrps.campaign.removal import judge, size_on_disk
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.plan import parse_plan, plan_text
from megatron_lrps.storage.files import write_atomic
from tests.campaign import checkpoints
from tests.campaign.campaigns import TRASH, Campaign
from tests.plan.plans import plan_dict


def test_nothing_there(campaign: Campaign) -> None:
    assert judge(campaign.campaign) == []
    campaign["main"].logs.mkdir(parents=True)
    assert judge(campaign.campaign) == []


def test_paths_in_the_plans_order_and_then_the_others(campaign: Campaign) -> None:
    for path in ("v1", "main", "an-old-one"):
        campaign.save(path, 300, 200)
    assert [(each.path, each.iteration, each.keep) for each in judge(campaign.campaign)] == [
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
    with pytest.raises(RefusedError, match=r"accepted plan .*plan\.yaml is damaged, .* missing .* Fix: restore it"):
        judge(campaign.campaign)


def test_released_versions_keep_their_fork_points_unless_the_plan_gives_them_up(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path)
    campaign.save("main", 400, 600)
    campaign.save("v1", 1000)
    write_record(campaign["v1"], {"parent": "main", "fork": 400, "end": 1000, "released": "2026-11-24"})
    assert campaign.goes("main") == []
    assert campaign.reason("main", 400) == "v1 forks off it"
    campaign = Campaign(tmp_path, keep={"latest": 1, "released_forks": False})
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
    with pytest.raises(RefusedError, match=r"path\.json cannot be read and no plan names v9, .* Fix: restore it"):
        judge(campaign.campaign)
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
        folder = Checkpoint(campaign["main"].checkpoints, iteration).folder
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
    silent = Checkpoint(campaign["main"].checkpoints, 200).folder / ".metadata"
    stat = Path.stat

    def failing(self: Path, **keys: Any) -> os.stat_result:
        if self == silent:
            raise OSError(5, "Input/output error", str(self))
        return stat(self, **keys)

    monkeypatch.setattr(Path, "stat", failing)
    saved = Checkpoints.in_folder(campaign["main"].checkpoints)
    assert (saved.complete, saved.torn) == ((600,), (200,))
    with pytest.raises(StorageError, match=r"iter_0000200/\.metadata could not be read: Input/output error\. Fix:"):
        judge(campaign.campaign)


# Symbolic links


def test_a_linked_checkpoint_is_neither_followed_nor_deleted(campaign: Campaign, tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "elsewhere", 200)
    campaign.save("main", 600)
    Checkpoint(campaign["main"].checkpoints, 200).folder.symlink_to(Checkpoint(tmp_path / "elsewhere", 200).folder)
    assert campaign.goes("main") == []
    assert campaign.reason("main", 200) == "reached through a symbolic link, which gc does not follow"
    assert size_on_disk(Checkpoint(campaign["main"].checkpoints, 200).folder) == 0


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
    (Checkpoint(campaign["main"].checkpoints, 200).folder / "link").symlink_to(tmp_path / "mine")
    assert campaign.collect() == [("main", 200)]
    assert (tmp_path / "mine/thesis").exists()


# Pins
