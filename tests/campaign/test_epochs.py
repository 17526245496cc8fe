"""How often windows read their data, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.epochs import planned_data, planned_windows, refuse_repeats
from megatron_lrps.errors import EXIT_REFUSED, RefusedError
from megatron_lrps.plan import Tree, expand, parse_plan
from tests.plan.plans import plan_dict
from tests.training.harness import write_tokens

V1 = {"name": "v1", "iters": 100, "train": [[0.75, "web"], [0.25, "code"]]}
V2 = {"name": "v2", "iters": 100, "train": [[1.0, "news"]]}
TOKENS = {"web": 3200, "code": 800, "news": 12_800}
"""800 samples of 16 tokens a window: 9,600 of web are 3 epochs, 3,200 of code are 4, 12,800 of news are 1."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for prefix, tokens in TOKENS.items():
        write_tokens(tmp_path / prefix, [[1] * tokens])
    return tmp_path


def tree_in(folder: Path, *versions: dict[str, Any], **keys: Any) -> Tree:
    return expand(parse_plan(yaml.safe_dump(plan_dict(versions=list(versions), **keys)), base=folder))


def check(tree: Tree, path: str, position: int = 0) -> None:
    planned = tree.path(path)
    refuse_repeats(tree, planned, planned_data(tree, planned, planned_windows(tree)), position)


def refusal(tree: Tree, path: str, position: int = 0) -> str:
    with pytest.raises(RefusedError) as caught:
        check(tree, path, position)
    assert caught.value.exit_code == EXIT_REFUSED
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_four_epochs_are_the_most_unless_the_plan_says_otherwise(folder: Path) -> None:
    check(tree_in(folder, V1, V2), "main")
    text = refusal(tree_in(folder, {**V1, "iters": 101}, V2), "main")
    assert text == (
        f"versions.v1: reads {folder}/code to 4.04 epochs in all, 202 samples of 16 tokens out of 800; max_epochs is 4."
        " Fix: give more data, less weight or a shorter version; or raise versions.v1.max_epochs."
    )
    check(tree_in(folder, {**V1, "iters": 101, "max_epochs": 4.1}, V2), "main")
    check(tree_in(folder, {**V1, "iters": 101}, V2, max_epochs=5), "main")
    assert "max_epochs is 2.5" in refusal(tree_in(folder, {**V1, "max_epochs": 2.5}, V2, max_epochs=9), "main")


def test_replay_counts_on_what_was_read_before(folder: Path) -> None:
    # 10 % of 800 samples: 20 of code are another 0.4 epochs, after 4
    tree = tree_in(folder, V1, {**V2, "replay": 0.1})
    text = refusal(tree, "main")
    assert text.startswith(
        f"versions.v2: replays {folder}/code to 4.4 epochs in all, 220 samples of 16 tokens out of 800;"
    )
    assert "less replay" in text
    check(tree_in(folder, V1, {**V2, "replay": 0.1, "max_epochs": 4.5}), "main")


def test_only_windows_that_are_still_read_are_refused(folder: Path) -> None:
    tree = tree_in(folder, {**V1, "iters": 110}, V2, paradigm=["lrps", "ptfs", "cpt"])
    assert "versions.v1" in refusal(tree, "main", 109)
    check(tree, "main", 110)
    check(tree, "cpt-v2")  # forks where v1 ends
    assert "versions.v1" in refusal(tree, "ptfs-v2", 209)
    check(tree_in(folder, V1, {**V2, "iters": 500}), "v1")  # v2's 5 epochs are none of v1's


def test_a_branch_with_data_of_its_own_counts_them_with_mains(folder: Path) -> None:
    write_tokens(folder / "curated", [[1] * 400])
    v2 = {**V2, "branch": {"data": [[0.5, "v1"], [0.5, "./curated"]]}}
    tree = tree_in(folder, V1, v2)  # v2's branch reads (140, 200]: 480 samples, 180 of web, 60 of code, 240 of curated
    assert refusal(tree, "v2") == (
        f"versions.v2.branch.data: v2 reads {folder}/code to 5.2 epochs in all, 260 samples of 16 tokens out of 800; "
        "max_epochs is 4. Fix: give more data, less weight or a shorter version; or raise versions.v2.max_epochs."
    )
    check(tree, "main")
    check(tree, "v1")
    assert "curated to 9.6 epochs in all, 240 samples" in refusal(tree_in(folder, V1, {**v2, "max_epochs": 6}), "v2")
    check(tree_in(folder, V1, {**v2, "max_epochs": 9.6}), "v2")


def test_a_mixed_branch_reads_again_what_main_has_read(folder: Path) -> None:
    tree = tree_in(folder, V1, V2, branch={"data": "mixed"})
    # Main reads all of v1, and v2's branch 480 of 1,600 samples: 4 epochs of code, and 0.3 x 4 more.
    assert refusal(tree, "v2").startswith(f"branch.data: v2 reads {folder}/code to 5.2 epochs in all, 260 samples")
    check(tree_in(folder, V1, {**V2, "max_epochs": 5.2}, branch={"data": "mixed"}), "v2")


def test_an_empty_index_is_refused_and_a_missing_one_left_to_others(folder: Path) -> None:
    write_tokens(folder / "empty", [[]])
    tree = tree_in(folder, {**V1, "train": [[1.0, "empty"]]}, {**V2, "train": [[1.0, "absent"]]})
    assert f"versions.v1.train: {folder}/empty holds no tokens." in refusal(tree, "v1")
    check(tree, "v2")
    assert planned_windows(tree)[1]["data"] == [[1.0, str(folder / "absent"), {}]]
