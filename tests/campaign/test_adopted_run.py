"""An adopted run is told from another by its content, wherever its folder lies."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.adopted_run import content_of, refuse_other_content
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.manifest import MANIFEST
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree, expand, parse_plan
from tests.campaign.checkpoints import save
from tests.campaign.records import write_path
from tests.plan.plans import plan_dict


def run(folder: Path, content: bytes = b"weights", iteration: int = 100) -> Checkpoint:
    """A checkpoint of a stock run in ``folder``."""
    save(folder, iteration)
    at = folder / f"iter_{iteration:07d}"
    (at / "__0_0.distcp").write_bytes(content)
    return Checkpoint(folder, iteration)


def tree_in(folder: Path, adopt: str = "stock", iteration: int = 100, **keys: Any) -> Tree:
    main = {"main": {"adopt": adopt, "iteration": iteration}} if adopt else {}
    return expand(parse_plan(yaml.safe_dump(plan_dict(**main, **keys)), base=folder))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Accepted and recorded; main has come from 100 to 300."""
    run(tmp_path / "stock")
    tree = tree_in(tmp_path)
    accept(Campaign(tree))
    save(CampaignFolder(tree.plan.folder).path("main").checkpoints, 300)
    write_path(tree, "main", status="training")
    return tmp_path


def test_content_is_every_files_name_size_and_middle(tmp_path: Path) -> None:
    saved = run(tmp_path / "a", b"0" * 300_000)
    at, known = saved.folder, content_of(saved)
    shutil.copytree(saved.save, tmp_path / "copy")
    assert known == content_of(Checkpoint(tmp_path / "copy", 100))
    (at / MANIFEST).write_text("taken later")  # of `lrps verify`, where a campaign's own run is adopted
    assert content_of(saved) == known
    (at / "__0_0.distcp").write_bytes(b"0" * 150_000 + b"1" + b"0" * 149_999)
    assert content_of(saved) != known
    (at / ".metadata").unlink()
    assert content_of(saved) is None


def test_the_record_says_what_was_adopted(trained: Path) -> None:
    tree = tree_in(trained)
    main = CampaignFolder(tree.plan.folder).path("main")
    content = content_of(Checkpoint(trained / "stock", 100))
    assert (read_record(main) or {})["adopted"] == {
        "folder": str(trained / "stock"),
        "iteration": 100,
        "sha256": content,
    }
    refuse_other_content(main, Checkpoint(trained / "stock", 100))
    (trained / "stock" / "iter_0000100" / "__0_0.distcp").write_bytes(b"another")
    write_path(tree, "main")  # what was adopted stays, whatever lies there now
    assert (read_record(main) or {})["adopted"]["sha256"] == content
    with pytest.raises(RefusedError, match="is not the checkpoint that main was adopted from"):
        refuse_other_content(main, Checkpoint(trained / "stock", 100))


def test_the_folder_may_move_and_be_gone(trained: Path) -> None:
    (trained / "stock").rename(trained / "elsewhere")
    accept(Campaign(tree_in(trained, "elsewhere")))
    accept(Campaign(tree_in(trained, "nowhere")))  # main has its own checkpoints, and nothing reads it again


def test_another_run_may_not_stand_in_for_it(trained: Path) -> None:
    run(trained / "other", b"WEIGHTS")
    with pytest.raises(
        RefusedError,
        match=r"main.adopt: .*/stock has been trained, the plan now says .*/other/iter_0000100, whose content",
    ):
        accept(Campaign(tree_in(trained, "other")))


@pytest.mark.parametrize(
    ("adopt", "iteration", "words"),
    [("stock", 90, "main.iteration: 100 has been trained, the plan now says 90"), ("", 0, "the plan now says None")],
)
def test_the_iteration_may_not_change(adopt: str, iteration: int, words: str, trained: Path) -> None:
    with pytest.raises(RefusedError, match=words):
        accept(Campaign(tree_in(trained, adopt, iteration)))


def test_all_may_change_until_main_has_trained(tmp_path: Path) -> None:
    run(tmp_path / "stock")
    run(tmp_path / "other", b"WEIGHTS", 90)
    accept(Campaign(tree_in(tmp_path)))
    accept(Campaign(tree_in(tmp_path, "other", 90)))
    accept(Campaign(tree_in(tmp_path, "")))


def test_a_campaign_from_scratch_adopts_nothing_later(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, "")
    accept(Campaign(tree))
    save(CampaignFolder(tree.plan.folder).path("main").checkpoints, 300)
    with pytest.raises(RefusedError, match=r"main.iteration: None has been trained, the plan now says 100"):
        accept(Campaign(tree_in(tmp_path)))


def test_main_is_ready_where_the_run_is(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    campaign, main = Campaign(tree), tree.path("main")
    assert not standing_of(campaign, main).ready
    run(tmp_path / "stock")
    assert standing_of(campaign, main).ready
    assert standing_of(campaign, main).saved is None
