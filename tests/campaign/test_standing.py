"""Where a path stands by its checkpoints, and what makes it trained."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.manifest import MANIFEST, take_sizes
from megatron_lrps.campaign.standing import end_is_kept, standing_of, trained_to
from megatron_lrps.errors import StorageError
from megatron_lrps.plan import PlannedPath, expand, parse_plan
from tests.campaign import checkpoints
from tests.plan.plans import plan_dict, tree_of

TREE = tree_of(paradigm=["lrps", "cpt"])  # main to 1400, v1 from 400 to 1000, v2 from 1400 to 2000
MAIN, V1 = TREE.path("main"), TREE.path("v1")


def campaign_in(folder: Path) -> Campaign:
    return Campaign(expand(parse_plan(yaml.safe_dump(plan_dict(paradigm=["lrps", "cpt"])), base=folder)))


def save(campaign: Campaign, path: str, *iterations: int, whole: bool = True) -> None:
    checkpoints.save(campaign.folder.path(path).checkpoints, *iterations, whole=whole)


def state(campaign: Campaign, path: PlannedPath) -> tuple[int | None, bool, bool]:
    found = standing_of(campaign, path)
    assert found.path is path
    return found.saved, found.done, found.ready


def test_nothing_yet(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    assert state(campaign, MAIN) == (None, False, True)
    assert state(campaign, V1) == (None, False, False)
    assert state(campaign, TREE.path("cpt-v1")) == (None, False, True)
    assert state(campaign, TREE.path("cpt-v2")) == (None, False, False)


def test_a_branch_is_ready_once_its_fork_point_is_whole(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "main", 200, 600)
    assert state(campaign, V1) == (None, False, False)
    save(campaign, "main", 400, whole=False)
    assert state(campaign, V1) == (None, False, False)
    (Checkpoint(campaign.folder.path("main").checkpoints, 400).folder / ".metadata").write_text("x")
    assert state(campaign, V1) == (None, False, True)
    assert state(campaign, MAIN) == (600, False, True)


def test_a_branch_that_has_saved_needs_its_fork_point_no_more(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "v1", 600)
    save(campaign, "v1", 800, whole=False)
    assert state(campaign, V1) == (600, False, True)
    save(campaign, "v1", 1000)
    assert state(campaign, V1) == (1000, True, True)


def test_checkpoints_outside_of_the_path_are_not_its_own(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "v1", 300, 400, 1200)  # before its fork, at it, past its end
    assert state(campaign, V1) == (None, False, False)
    save(campaign, "main", 1500)  # main's end was later in another plan
    assert state(campaign, MAIN) == (None, False, True)
    save(campaign, "main", 1400)
    assert state(campaign, MAIN) == (1400, True, True)


def test_a_torn_end_is_not_done(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "main", 1000)
    save(campaign, "main", 1400, whole=False)
    assert state(campaign, MAIN) == (1000, False, True)


def test_a_path_is_trained_to_what_is_whole(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "v1", 400, 600, 1000)
    save(campaign, "v1", 800, whole=False)
    end = Checkpoint(campaign.folder.path("v1").checkpoints, 1000).folder
    assert [each for each in (400, 500, 600, 800, 1000, 1200) if trained_to(campaign, V1, each)] == [600, 1000]
    take_sizes(end)
    assert trained_to(campaign, V1, 1000)
    assert state(campaign, V1) == (1000, True, True)
    (end / "metadata.json").write_text("longer than it was saved")
    assert not trained_to(campaign, V1, 1000)
    assert state(campaign, V1) == (600, False, True)  # so it is trained again from there
    (end / MANIFEST).unlink()
    assert trained_to(campaign, V1, 1000)  # as stock Megatron leaves it


def test_after_a_failure_an_end_that_was_found_damaged_counts_once_it_is_saved_anew(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "v1", 1000)
    told: list[dict[str, Any]] = [{"event": "started", "iteration": 400}, {"event": "alert"}]
    assert end_is_kept(campaign, V1, 1000, told)
    assert end_is_kept(campaign, V1, 1000, [*told, {"event": "skipped", "iteration": 600}])
    told.append({"event": "skipped", "iteration": 1000})
    assert not end_is_kept(campaign, V1, 1000, told)
    assert end_is_kept(campaign, V1, 1000, [*told, {"event": "saved", "iteration": 1000}])
    assert not end_is_kept(campaign, V1, 800, [{"event": "saved", "iteration": 800}])  # it is not there


def test_an_end_that_the_disk_does_not_confirm_is_the_disks_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = campaign_in(tmp_path)
    save(campaign, "v1", 1000)

    def fail(file: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    monkeypatch.setattr("megatron_lrps.campaign.manifest.sync", fail)
    with pytest.raises(StorageError, match=r"iter_0001000 is the last checkpoint of path v1, .*: Input/output error"):
        end_is_kept(campaign, V1, 1000, [])
