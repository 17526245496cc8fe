"""A campaign whose data and tokenizer lie elsewhere by now goes on, if their content is what was trained."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import write_record
from megatron_lrps.data.fingerprint import fingerprint, tokenizer_fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree
from tests.campaign.checkpoints import save
from tests.campaign.test_accepted_plan import NEXT, VERSIONS, tree_in
from tests.training.harness import write_tokens

TOKENIZER = {"type": "sentencepiece", "model": "data/t.model"}


def tree_at(folder: Path, data: str = "data", **keys: Any) -> Tree:
    """The campaign of ``test_growth`` with its files below ``data``."""
    listed = [{**each, "train": [[weight, f"{data}/{name}"] for weight, name in each["train"]]} for each in VERSIONS]
    return tree_in(folder, **{"versions": listed, "tokenizer": {**TOKENIZER, "model": f"{data}/t.model"}, **keys})


def trained(folder: Path, *, recorded: bool) -> Tree:
    """A campaign accepted and trained to 700, inside of v1's window, with or without a record of its data."""
    for number, name in enumerate(("web", "code", "news")):
        write_tokens(folder / "data" / name, [[number] * 10])
    (folder / "data" / "t.model").write_text("model")
    tree = tree_at(folder)
    accept(Campaign(tree))
    main = CampaignFolder(tree.plan.folder).path("main")
    save(main.checkpoints, 400, 700)
    if recorded:
        window = {
            "version": "v1",
            "iterations": 1000,
            "data": [[w, str(p), {**fingerprint(p).to_json(), "tokens": 10}] for w, p in tree.windows[0].version.train],
        }
        tokenizer = tokenizer_fingerprint(folder / "data/t.model")
        write_record(main, {"data": {"windows": [window], "order": "chained", "tokenizer": tokenizer}})
    return tree


@pytest.mark.parametrize("recorded", [True, False])
def test_copied_data_are_the_same_data(recorded: bool, tmp_path: Path) -> None:
    trained(tmp_path, recorded=recorded)
    shutil.copytree(tmp_path / "data", tmp_path / "other disk")
    accept(Campaign(tree_at(tmp_path, "other disk")))
    assert "other disk/web" in CampaignFolder(tree_at(tmp_path).plan.folder).plan.read_text()


def test_moved_data_are_told_by_the_record(tmp_path: Path) -> None:
    trained(tmp_path, recorded=True)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    accept(Campaign(tree_at(tmp_path, "elsewhere")))


def test_without_a_record_what_is_gone_cannot_be_compared(tmp_path: Path) -> None:
    trained(tmp_path, recorded=False)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(
        RefusedError,
        match=r"data/t.model has been trained, the plan now says .*elsewhere/t.model, whose content cannot be",
    ):
        accept(Campaign(tree_at(tmp_path, "elsewhere")))
    with pytest.raises(RefusedError, match=r"versions\.v1\.train: .*data/web has been trained.*cannot be compared"):
        accept(Campaign(tree_at(tmp_path, "elsewhere", tokenizer=TOKENIZER)))


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("changed", ["web.idx", "code.bin", "t.model"])
def test_other_content_in_another_place_is_refused(changed: str, recorded: bool, tmp_path: Path) -> None:
    trained(tmp_path, recorded=recorded)
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    content = (tmp_path / "other" / changed).read_bytes()
    (tmp_path / "other" / changed).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    name = changed.split(".")[0]
    with pytest.raises(RefusedError, match=f"data/{name}.* has been trained.*other/{name}"):
        accept(Campaign(tree_at(tmp_path, "other")))


def test_two_indexes_that_change_places_are_another_blend(tmp_path: Path) -> None:
    tree = trained(tmp_path, recorded=True)
    first, second = tree.windows[0].version.train
    swapped = [{**VERSIONS[0], "train": [[0.7, str(second[1])], [0.3, str(first[1])]]}, VERSIONS[1]]
    with pytest.raises(RefusedError, match=r"versions\.v1\.train: .*web \(bin sample sha256 \w+...\) has been trained"):
        accept(Campaign(tree_in(tmp_path, versions=swapped, tokenizer=TOKENIZER)))


def test_a_campaign_is_where_its_folder_is(tmp_path: Path) -> None:
    trained(tmp_path / "here", recorded=True)
    (tmp_path / "here").rename(tmp_path / "there")
    tree = tree_at(tmp_path / "there")
    accept(Campaign(tree))
    with pytest.raises(RefusedError, match=r"lr\.max: 0\.0003 has been trained"):
        accept(Campaign(tree_at(tmp_path / "there", lr={"max": 1e-3, "min": 3e-5})))


def test_a_plan_that_was_accepted_with_absolute_places_is_still_read(tmp_path: Path) -> None:
    """As lrps 0.1 wrote it: `save` and all others in full, at a place that is gone."""
    tree = trained(tmp_path / "here", recorded=True)
    file = CampaignFolder(tree.plan.folder).plan
    assert "save: ." in file.read_text()
    file.write_text(file.read_text().replace("save: .", f"save: {tree.plan.folder}"))
    (tmp_path / "here").rename(tmp_path / "there")
    new = tree_at(tmp_path / "there")
    with pytest.raises(RefusedError, match=r"lr\.max: 0\.0003 has been trained"):
        accept(Campaign(tree_at(tmp_path / "there", lr={"max": 1e-3, "min": 3e-5})))
    accept(Campaign(new))
    assert "save: ." in CampaignFolder(new.plan.folder).plan.read_text()


def test_a_version_to_come_may_have_any_data(tmp_path: Path) -> None:
    trained(tmp_path, recorded=True)
    tree = tree_at(tmp_path)
    later = [{**VERSIONS[0], "train": [[w, str(p)] for w, p in tree.windows[0].version.train]}, NEXT]
    accept(Campaign(tree_at(tmp_path, versions=later)))
