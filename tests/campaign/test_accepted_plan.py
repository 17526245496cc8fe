"""A plan may grow; what has been trained may not change."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree, expand, load_plan, parse_plan, plan_hash
from megatron_lrps.plan.megatron_arguments import by_flag
from tests.campaign.checkpoints import save
from tests.plan.plans import plan_dict
from tests.training.harness import write_tokens

VERSIONS = [
    {"name": "v1", "iters": 1000, "train": [[0.7, "web"], [0.3, "code"]]},
    {"name": "v2", "iters": 1000, "train": [[1.0, "news"]]},
]
"""Main to 1400, v1 from 400 to 1000, v2 from 1400 to 2000."""

NEXT = {"name": "v3", "iters": 500, "train": [[1.0, "more"]]}


def tree_in(folder: Path, **keys: Any) -> Tree:
    return expand(parse_plan(yaml.safe_dump(plan_dict(**{"versions": VERSIONS, **keys})), base=folder))


def version(number: int, **keys: Any) -> list[dict[str, Any]]:
    """The versions, with one of them changed."""
    return [{**old, **keys} if index == number else old for index, old in enumerate(VERSIONS)]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A campaign's folder: accepted; main has come to 700 and v1 to 600."""
    tree = tree_in(tmp_path)
    accept(Campaign(tree))
    campaign = CampaignFolder(tree.plan.folder)
    save(campaign.path("main").checkpoints, 400, 700)
    save(campaign.path("v1").checkpoints, 600)
    return tmp_path


def test_the_first_plan_becomes_the_accepted_one(tmp_path: Path) -> None:
    tree = tree_in(tmp_path)
    accept(Campaign(tree))
    assert plan_hash(load_plan(CampaignFolder(tree.plan.folder).plan)) == plan_hash(tree.plan)


@pytest.mark.parametrize(
    "keys",
    [
        {"versions": [*VERSIONS, NEXT]},
        {"versions": VERSIONS[:1]},  # v2's window begins at 1000, and nothing has come there
        {"versions": version(1, iters=800, train=[[1.0, "else"]])},
        {"versions": version(1, name="v2b")},
        {"versions": version(1, decay={"alpha": 0.2, "shape": "linear"})},
        {"versions": version(1, replay=0.1)},
        {"versions": version(0, max_epochs=9), "max_epochs": 2},
        {"paradigm": ["lrps", "ptfs", "cpt"]},
        {"megatron": {"save-interval": 50}},
        {"global_batch_size": 16, "megatron": {"step-batch-size-schedule": "0:8 128000:16"}},  # at sample 8,000, v2's
        {"versions": version(1, branch={"data": "mixed"})},
        {"versions": version(1, branch={"data": [[0.5, "v1"], [0.5, "curated/web"]]})},
    ],
)
def test_the_future_may_change(keys: dict[str, Any], trained: Path) -> None:
    tree = tree_in(trained, **keys)
    accept(Campaign(tree))
    assert plan_hash(load_plan(CampaignFolder(tree.plan.folder).plan)) == plan_hash(tree.plan)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"lr": {"max": 1e-3, "min": 3e-5}}, ["lr.max: 0.0003", "0.001"]),
        ({"lr": {"max": 3e-4, "min": 0.0}}, ["lr.min: 3e-05", "0.0"]),
        ({"lr": {"max": 3e-4, "min": 3e-5, "warmup_iters": 10}}, ["lr.warmup_iters: 0", "10"]),
        ({"global_batch_size": 16}, ["global_batch_size: 8", "16"]),
        (
            {"global_batch_size": 16, "megatron": {"step-batch-size-schedule": "0:8 6400:16"}},
            ["global_batch_size: 8 has been trained, the plan now says 8 (16 from iteration 51 on)"],
        ),
        ({"sequence_length": 32}, ["sequence_length: 16", "32"]),
        ({"tokenizer": {"type": "null", "vocab_size": 9}}, ["tokenizer.type: None", "null"]),
        ({"versions": version(0, name="w1")}, ["versions.v1.name: v1 has been trained", "w1"]),
        ({"versions": version(0, iters=1200)}, ["versions.v1.iters: 1000", "1200"]),
        ({"versions": version(0, train=[[1.0, "web"]])}, ["versions.v1.train:", "/code'", "(1.0, "]),
        ({"versions": version(0, train=[[0.6, "web"], [0.4, "code"]])}, ["versions.v1.train:", "0.7", "0.6"]),
        ({"versions": version(0, decay={"alpha": 0.5})}, ["path v1, fork: 400", "500"]),
        (
            {"versions": version(0, decay={"shape": "linear"})},
            ["path v1, learning rate up to iteration 600", "cosine over [3200, 4800)", "linear over [3200, 4800)"],
        ),
    ],
)
def test_the_past_may_not(keys: dict[str, Any], words: list[str], trained: Path) -> None:
    accepted = CampaignFolder(tree_in(trained).plan.folder).plan.read_text()
    with pytest.raises(RefusedError) as refusal:
        accept(Campaign(tree_in(trained, **keys)))
    assert [word for word in words if word not in str(refusal.value)] == []
    assert "\n" not in str(refusal.value)
    assert CampaignFolder(tree_in(trained).plan.folder).plan.read_text() == accepted


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"clip-grad": 0.5}, "megatron.clip-grad: 1.0 (Megatron's default) has been trained, the plan now says 0.5."),
        ({"hidden-dropout": None}, "megatron.hidden-dropout: 0.0 has been trained, the plan now says 0.1 (Megatron's"),
        ({"swiglu": False}, "megatron.swiglu: True has been trained, the plan now says False."),
        ({"swiglu": None}, "megatron.swiglu: True has been trained, the plan now says False (Megatron's default)."),
        ({"swiglu": None, "squared-relu": True}, "megatron.swiglu: True has been trained"),
        ({"rotary-base": 500000}, "megatron.rotary-base: 10000 (Megatron's default) has been trained"),
        ({"mtp-num-layers": None}, "megatron.mtp-num-layers: 1 has been trained, the plan now says None (Megatron's"),
        (
            {"disable-bias-linear": True},
            "megatron.disable-bias-linear: False (Megatron's default) has been trained, the plan now says True",
        ),
        ({"fp8-format": "hybrid"}, "megatron.fp8-format: None (Megatron's default) has been trained"),
        ({"seed": 1}, "megatron.seed: 1234 (Megatron's default) has been trained, the plan now says 1."),
    ],
)
def test_another_model_under_megatron_is_the_past_unless_it_is_allowed(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    flags = {"num-layers": 2, "swiglu": True, "hidden-dropout": 0.0, "mtp-num-layers": 1, "weight-decay": 0.1}
    tree = tree_in(tmp_path, megatron=flags)
    accept(Campaign(tree))
    now = {key: value for key, value in {**flags, **changed}.items() if value is not None}
    accept(Campaign(tree_in(tmp_path, megatron=now)))  # nothing has been trained
    accept(Campaign(tree))
    save(CampaignFolder(tree.plan.folder).path("main").checkpoints, 400)
    # The same model in other words, and what may differ.
    accept(Campaign(tree_in(tmp_path, megatron={**flags, "clip-grad": 1, "num-layers": "2", "log-interval": 7})))
    accept(Campaign(tree))
    with pytest.raises(RefusedError) as refusal:
        accept(Campaign(tree_in(tmp_path, megatron=now)))
    assert words in str(refusal.value)
    destinations = [by_flag()[flag].destination for flag in changed]
    accept(Campaign(tree_in(tmp_path, megatron=now)), allow=destinations)


def test_a_replay_that_has_begun_stays(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, versions=version(1, replay=0.1))
    accept(Campaign(tree))
    save(CampaignFolder(tree.plan.folder).path("main").checkpoints, 400, 1200)
    accept(Campaign(tree_in(tmp_path, versions=version(1, replay={"share": 0.1}))))
    for replay, words in ((0.2, "0.2"), ({"share": 0.1, "weights": {"v1": 2}}, "0.1 (2 of v1)"), (None, "none")):
        with pytest.raises(RefusedError) as refusal:
            accept(Campaign(tree_in(tmp_path, versions=version(1, replay=replay))))
        assert f"versions.v2.replay: 0.1 has been trained, the plan now says {words}." in str(refusal.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pattern": "v2"}, ["tokenizer.pattern: v1", "v2"]),
        ({"num_special_tokens": 9}, ["tokenizer.num_special_tokens: None", "9"]),
        ({"special_tokens": ["a"]}, ["tokenizer.special_tokens: None", "a"]),
    ],
)
def test_what_ids_mean_is_the_past(changed: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    tokenizer = {"type": "tiktoken", "model": "v.json", "pattern": "v1"}
    tree = tree_in(tmp_path, tokenizer=tokenizer)
    accept(Campaign(tree))
    save(CampaignFolder(tree.plan.folder).path("main").checkpoints, 400)
    accept(Campaign(tree_in(tmp_path, tokenizer=tokenizer)))
    with pytest.raises(RefusedError) as refusal:
        accept(Campaign(tree_in(tmp_path, tokenizer={**tokenizer, **changed})))
    assert [word for word in words if word not in str(refusal.value)] == []


def test_the_data_of_a_begun_branch_stay(tmp_path: Path) -> None:
    for name in ("web", "code", "other"):
        write_tokens(tmp_path / name, [[len(name)] * 100])
    blend = {"data": [[0.5, "v1"], [0.5, "./other"]]}
    campaign = Campaign(tree_in(tmp_path, versions=version(0, branch=blend)))
    accept(campaign)
    save(campaign.folder.path("main").checkpoints, 400)
    accept(Campaign(tree_in(tmp_path)))  # the branch has not begun
    accept(campaign)
    save(campaign.folder.path("v1").checkpoints, 600)

    def refusal(data: Any, **keys: Any) -> str:
        with pytest.raises(RefusedError) as refused:
            accept(Campaign(tree_in(tmp_path, versions=version(0, branch={"data": data}), **keys)))
        return str(refused.value)

    assert refusal("window").startswith("path v1, branch.data: a blend has been trained, the plan now says window.")
    assert "branch.data: a blend has been trained, the plan now says mixed" in refusal("mixed")
    assert "restore it (under versions.v1.branch, where only later branches are to read something else)" in refusal(
        "mixed"
    )
    assert "path v1, branch.data: [(0.35, " in refusal([[0.6, "v1"], [0.4, "./other"]])
    (tmp_path / "other2.bin").write_bytes((tmp_path / "other.bin").read_bytes())
    (tmp_path / "other2.idx").write_bytes((tmp_path / "other.idx").read_bytes())
    accept(Campaign(tree_in(tmp_path, versions=version(0, branch={"data": [[0.5, "v1"], [0.5, "./other2"]]}))))
    write_tokens(tmp_path / "changed", [[9] * 101])
    assert "path v1, branch.data: " in refusal([[0.5, "v1"], [0.5, "./changed"]])
    # The same from elsewhere is the same, and what comes later may have other data.
    accept(Campaign(tree_in(tmp_path, branch=blend, versions=version(1, branch={"data": "mixed"}))))


def test_a_window_that_main_has_begun_is_the_past(trained: Path) -> None:
    campaign = CampaignFolder(tree_in(trained).plan.folder)
    save(campaign.path("main").checkpoints, 1200)
    with pytest.raises(RefusedError, match=r"versions\.v2\.iters: 1000 has been trained, the plan now says 800"):
        accept(Campaign(tree_in(trained, versions=version(1, iters=800))))
    with pytest.raises(RefusedError, match=r"versions\.v2: it has been trained, the plan now says nothing of it"):
        accept(Campaign(tree_in(trained, versions=VERSIONS[:1])))


def test_main_may_stop_earlier_and_a_branch_may_not(trained: Path) -> None:
    campaign = CampaignFolder(tree_in(trained).plan.folder)
    save(campaign.path("main").checkpoints, 1300)
    accept(Campaign(tree_in(trained, versions=version(1, decay={"alpha": 0.8}))))  # main now ends at 1200
    hold = {"name": "x", "parent": "main", "fork": 400, "end": 900, "schedule": [{"kind": "hold"}]}
    main = {"name": "main", "end": 1000, "schedule": [{"kind": "hold"}]}
    accept(Campaign(tree_in(trained / "b", paths=[main, hold])))
    save(CampaignFolder(tree_in(trained / "b").plan.folder).path("x").checkpoints, 800)
    with pytest.raises(RefusedError, match="path x, end: 800 has been trained, the plan now says 700"):
        accept(Campaign(tree_in(trained / "b", paths=[main, {**hold, "end": 700}])))


def test_a_mixed_path_may_not_change_its_end(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, paradigm="ptfs")
    accept(Campaign(tree))
    campaign = CampaignFolder(tree.plan.folder)
    save(campaign.path("ptfs-v2").checkpoints, 100)
    with pytest.raises(RefusedError, match=r"end of its mixed data: 2000 has been trained, the plan now says 2500"):
        accept(Campaign(tree_in(tmp_path, paradigm="ptfs", versions=version(1, iters=1500))))


def test_before_anything_is_trained_all_may_change(tmp_path: Path) -> None:
    accept(Campaign(tree_in(tmp_path)))
    tree = tree_in(tmp_path, lr={"max": 1e-3, "min": 1e-5}, versions=[NEXT])
    accept(Campaign(tree))
    assert plan_hash(load_plan(CampaignFolder(tree.plan.folder).plan)) == plan_hash(tree.plan)


def test_a_damaged_accepted_plan_is_refused(trained: Path) -> None:
    file = CampaignFolder(tree_in(trained).plan.folder).plan
    file.write_text(file.read_text()[:40])
    with pytest.raises(RefusedError, match="is damaged"):
        accept(Campaign(tree_in(trained, versions=[*VERSIONS, NEXT])))


def test_a_merge_that_is_made_stays_and_one_to_come_may_change(tmp_path: Path) -> None:
    tree = tree_in(tmp_path, merge={"window": 0.5, "checkpoints": 5})
    accept(Campaign(tree))
    campaign = CampaignFolder(tree.plan.folder)
    save(campaign.path("main").checkpoints, *range(600, 1001, 100))
    save(campaign.path("v1").checkpoints, 1000)
    later = [VERSIONS[0], {**VERSIONS[1], "merge": {"window": 0.2}}]
    accept(Campaign(tree_in(tmp_path, merge={"window": 0.5, "checkpoints": 5}, versions=later)))
    accept(Campaign(tree_in(tmp_path, merge={"window": 0.5, "checkpoints": 5}, versions=VERSIONS)))
    with pytest.raises(RefusedError, match=r"0\.2 of main at 600.* has been trained, the plan now says.*at 750"):
        accept(Campaign(tree_in(tmp_path, merge={"window": 0.5, "checkpoints": 2})))
    with pytest.raises(RefusedError, match="path v1"):
        accept(Campaign(tree_in(tmp_path)))
