"""The folders that a container sees."""

from pathlib import Path

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.launch.slurm.container_mounts import mounts
from tests.plan.plans import tree_of


def test_a_container_sees_what_files_link_to_and_what_the_plan_adds(tmp_path: Path) -> None:
    real = {name: tmp_path / name for name in ("disk", "hop", "hub", "data", "tokenizer", "hooks", "stock")}
    for folder in real.values():
        folder.mkdir()
    (real["disk"] / "b.bin").touch()
    (real["hop"] / "b.bin").symlink_to("../disk/b.bin")
    (real["data"] / "a.bin").symlink_to(real["hop"] / "b.bin")
    (real["data"] / "a.idx").touch()
    (real["hub"] / "blob").touch()
    (real["tokenizer"] / "tokenizer.json").symlink_to("../hub/blob")
    tree = tree_of(
        save=str(tmp_path / "runs"),
        launch={"slurm": {"mounts": ["/scratch/images"]}},
        main={"adopt": str(real["stock"]), "iteration": 1},
        versions=[{"name": "v1", "iters": 10, "train": [[1.0, str(real["data"] / "a")]]}],
        tokenizer={"type": "huggingface", "model": str(real["tokenizer"])},
        alerts={"hook": [str(real["hooks"] / "tell"), "--loud"]},
    )
    assert mounts(tree.plan) == [
        tmp_path / "runs", real["data"], real["hop"], real["disk"], tmp_path, real["stock"], real["tokenizer"],
        real["hub"], real["hooks"], Path("/scratch/images"),
    ]  # fmt: skip


def test_a_container_sees_the_data_of_branches_and_not_their_text(tmp_path: Path) -> None:
    own, all_of_them = (
        {"data": [[1.0, f"{tmp_path}/{name}/a"]], "sources": {f"{tmp_path}/{name}/a": f"{tmp_path}/raw/a"}}
        for name in ("own", "all")
    )
    tree = tree_of(
        save=str(tmp_path / "runs"), versions=[{"name": "v1", "iters": 10, "branch": own}], branch=all_of_them
    )
    assert {tmp_path / "own", tmp_path / "all"} <= {*mounts(tree.plan)}
    assert tmp_path / "raw" not in mounts(tree.plan)


@pytest.mark.parametrize("folder", ["images", "/a:b", "/a,b", ""])
def test_a_mount_is_an_absolute_folder(folder: str) -> None:
    with pytest.raises(PlanError, match="is not an absolute path without ',' and ':'"):
        tree_of(launch={"slurm": {"mounts": [folder]}})
