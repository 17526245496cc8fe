"""What Megatron's own data sets give a window that replays: samples by their tokens, which say where they are from."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree, expand, parse_plan
from megatron_lrps.plan.window_samples import Interleaved
from megatron_lrps.training.timeline import Mixed, replay_seed
from tests.plan.plans import plan_dict
from tests.training.harness import write_tokens
from tests.training.numbered_samples import PREFIXES, SEQUENCE, origins, read, timeline, write_indexes

SIZES = {"v1": 96, "v2": 40, "v3": 40}
"""Samples of each window; an index of 2,000 tokens has 124."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three windows' indexes and one more."""
    root = tmp_path_factory.mktemp("replay")
    write_indexes(root)
    return root


def tree_in(folder: Path, **keys: dict[str, Any]) -> Tree:
    """v1, v2 and v3, with ``keys`` of each over it."""
    versions = [
        {"name": name, "samples": size, "train": [[1.0, name]], **keys.get(name, {})} for name, size in SIZES.items()
    ]
    text = yaml.safe_dump(plan_dict(versions=versions, paradigm=["lrps", "ptfs"]))
    return expand(parse_plan(text, base=folder))


def test_own_and_replayed_samples_are_spread_evenly(folder: Path) -> None:
    tree = tree_in(folder, v3={"replay": 0.25})
    got = origins(read(timeline(tree), 136))
    # 10 of 40 samples; v1 has 96 and v2 40 of the 136 before: 7 and 3
    assert {name: got.count(name) for name in PREFIXES} == {"v3": 30, "v1": 7, "v2": 3, "code": 0}
    assert [position for position, name in enumerate(got) if name != "v3"] == list(range(3, 40, 4))
    spread = Interleaved((30, 7, 3))
    assert got == [("v3", "v1", "v2")[spread.locate(position)[0]] for position in range(40)]


def test_own_samples_are_the_first_of_the_same_data(folder: Path) -> None:
    tree, seed = tree_in(folder, v2={"replay": 0.25}), 1234
    own = [sample for sample in read(timeline(tree, seed=seed), 96, 136) if sample[0] // 100_000 == 2]
    alone = tree_in(folder, v2={"samples": 32})  # 30 rounded up to whole iterations: 1 epoch in either
    assert own == read(timeline(alone, seed=seed), 96, 126)


def test_what_is_replayed_is_drawn_anew_for_every_window(folder: Path) -> None:
    tree = tree_in(folder, v2={"replay": 0.5}, v3={"replay": {"share": 0.5, "weights": {"v1": 1}}})
    samples = read(timeline(tree))
    first = samples[:20]
    again = {
        name: [s for s in samples[a:b] if s[0] // 100_000 == 1] for name, a, b in (("v2", 96, 136), ("v3", 136, 176))
    }
    assert [len(each) for each in again.values()] == [20, 20]
    assert first != again["v2"] != again["v3"] != first
    # no more than chance: 20 of 124 samples twice share 3.2 on average
    assert len(set(again["v2"]) & set(again["v3"])) < 10
    assert len(set(first) & set(again["v2"])) < 10


def test_more_versions_change_nothing_before_them(folder: Path) -> None:
    tree = tree_in(folder, v2={"replay": 0.25}, v3={"replay": 0.5})
    assert read(timeline(tree, "v2")) == read(timeline(tree, "v3"))[:136]
    assert read(timeline(tree, "v2")) == read(timeline(tree_in(folder, v2={"replay": 0.25}), "v3"))[:136]


def test_windows_without_replay_read_what_they_did(folder: Path) -> None:
    plain, replaying = read(timeline(tree_in(folder))), read(timeline(tree_in(folder, v3={"replay": 0.5})))
    assert plain[:136] == replaying[:136]
    assert plain[136:] != replaying[136:]
    assert set(origins(plain[136:])) == {"v3"}


def test_blends_are_replayed_by_their_weights(folder: Path) -> None:
    tree = tree_in(folder, v1={"train": [[0.75, "v1"], [0.25, "code"]]}, v2={"replay": 0.4})
    got = origins(read(timeline(tree, "v2"), 96))
    assert {name: got.count(name) for name in PREFIXES} == {"v2": 24, "v1": 12, "code": 4, "v3": 0}


def test_a_mixed_order_has_the_windows_as_they_are(folder: Path) -> None:
    tree = tree_in(folder, v3={"replay": 0.25})
    chained, mixed = read(timeline(tree)), read(timeline(tree, "ptfs-v3"))
    order = Mixed(176, seed=1234)
    assert mixed == [chained[order.sample(position)] for position in range(176)]


def test_passed_windows_are_built_only_to_be_replayed(folder: Path, tmp_path: Path) -> None:
    for prefix in ("v1", "v3"):
        for suffix in (".bin", ".idx"):
            (tmp_path / f"{prefix}{suffix}").write_bytes((folder / f"{prefix}{suffix}").read_bytes())
    tree = tree_in(tmp_path, v3={"replay": {"share": 0.25, "weights": {"v1": 1}}})
    whole = tree_in(folder, v3={"replay": {"share": 0.25, "weights": {"v1": 1}}})
    started = timeline(tree, position=136)  # v2's index is not there
    assert [window.samples is None for window in started.windows] == [True, True, False]
    assert read(started, 136) == read(timeline(whole), 136)


def test_too_few_samples_for_many_weights_are_refused(folder: Path) -> None:
    # Of 24 samples Megatron asks 25 of the first index, one epoch, and then draws 27 x 0.984 from it.
    for number in range(4):
        write_tokens(folder / f"c{number}", [list(range(25 * SEQUENCE + 1))])
    many = [[0.9, "c0"], *([0.005, f"c{number}"] for number in (1, 2, 3))]
    tree = tree_in(folder, v1={"train": many, "samples": 24})
    with pytest.raises(RefusedError, match=r"versions\.v1: 24 samples are too few for the weights of 4 data sets"):
        timeline(tree, "v1")


def test_replay_seeds_are_all_different() -> None:
    for seed in (0, 1234, 2**32 - 1):
        seeds = {replay_seed(seed, place) for place in range(1, 10_000)} | {seed}
        assert len(seeds) == 10_000
        assert all(0 <= each < 2**32 for each in seeds)
