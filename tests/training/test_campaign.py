"""A campaign trained by real Megatron: what each path read, how it forks, resumes and is refused."""

import json
import re
from pathlib import Path

import pytest

from megatron_lrps.plan import expand, load_plan
from megatron_lrps.training.timeline import Mixed
from tests.training.campaigns import losses, rates, train_path, write_campaign

pytestmark = pytest.mark.training

TRACED = """
import json, os
from megatron_lrps.training.megatron import hooks
hooks.install(cpu=True)
from megatron_lrps.training.timeline import Timeline
read = Timeline.__getitem__
def traced(self, position):
    window, sample = self.locate(position)
    with open(os.environ["TRACE"], "a") as trace:
        trace.write(json.dumps([position, self.windows[window].version, sample]) + "\\n")
    return read(self, position)
Timeline.__getitem__ = traced
from megatron_lrps.pretrain import main
main()
"""
"""The plugin's own entry, which also writes down every sample that the timeline gives."""

BATCH = 4


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose main path, v1 (in two pieces), v2 and ptfs-v2 are trained, with what each has read."""
    plan = write_campaign(tmp_path_factory.mktemp("campaign"))
    plan.write_text(plan.read_text().replace("save: run\n", "save: run\nparadigm: [lrps, ptfs]\n"))
    for path, flags, code in (
        ("main", [], 0),
        ("v1", ["--exit-interval", "6"], 75),
        ("v1", [], 0),
        ("v2", [], 0),
        ("ptfs-v2", [], 0),
    ):
        trace = plan.parent / f"trace-{path}"
        ended = train_path(plan, path, *flags, code=TRACED.replace('os.environ["TRACE"]', repr(str(trace))))
        assert ended.codes == [code], ended.log[-3000:]
    return plan


def read_by(plan: Path, path: str) -> list[tuple[int, str, int]]:
    """(position, version, sample) in the order they were read."""
    lines = (plan.parent / f"trace-{path}").read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines]


def test_main_reads_each_sample_of_its_windows_once_and_in_order(campaign: Path) -> None:
    expected = [(p, "v1", p) if p < 32 else (p, "v2", p - 32) for p in range(11 * BATCH)]
    assert read_by(campaign, "main") == expected


def test_a_branch_reads_what_main_reads_there(campaign: Path) -> None:
    main, v1 = read_by(campaign, "main"), read_by(campaign, "v1")
    assert v1 == main[4 * BATCH : 8 * BATCH]


def test_a_resumed_path_repeats_and_skips_nothing(campaign: Path) -> None:
    # v1 was stopped at iteration 6 and continued: (4, 6] and (6, 8] are seen as one.
    assert [position for position, _, _ in read_by(campaign, "v1")] == list(range(4 * BATCH, 8 * BATCH))


def test_the_next_version_repeats_nothing(campaign: Path) -> None:
    seen_by_v1 = {item[1:] for item in read_by(campaign, "main")[: 8 * BATCH]}
    new = {item[1:] for item in read_by(campaign, "v2")} | {item[1:] for item in read_by(campaign, "main")[8 * BATCH :]}
    assert not seen_by_v1 & new
    assert read_by(campaign, "v2") == [(p, "v2", p - 32) for p in range(11 * BATCH, 14 * BATCH)]


def test_ptfs_reads_the_same_samples_mixed(campaign: Path) -> None:
    mixed = [item[1:] for item in read_by(campaign, "ptfs-v2")]
    both_windows = {("v1", sample) for sample in range(32)} | {("v2", sample) for sample in range(24)}
    assert len(mixed) == 56
    assert set(mixed) == both_windows
    order = Mixed(56, seed=1234)
    assert [(v, s) for v, s in mixed] == [("v1", i) if i < 32 else ("v2", i - 32) for i in map(order.sample, range(56))]


def test_the_logged_learning_rate_is_the_plans(campaign: Path) -> None:
    tree = expand(load_plan(campaign))
    for name in ("main", "v1", "v2", "ptfs-v2"):
        path = tree.path(name)
        for iteration, logged in rates(campaign, name).items():
            planned = path.schedule.lr(iteration * BATCH, max_lr=3e-3, min_lr=3e-4)
            assert logged == pytest.approx(planned, rel=1e-7), (name, iteration)  # float32 in the log
    assert rates(campaign, "v1")[8] == pytest.approx(3e-4)


def test_the_first_branch_iteration_is_mains(campaign: Path) -> None:
    # Same weights, moments, dropout masks and sample: nothing of the state was lost at the fork.
    assert losses(campaign, "v1")[5] == losses(campaign, "main")[5]
    assert losses(campaign, "v1")[7] != losses(campaign, "main")[7]


def test_lineage_says_what_made_a_version(campaign: Path) -> None:
    folder = campaign.parent / "run" / "paths" / "v1"
    record = json.loads((folder / "path.json").read_text())
    assert (record["parent"], record["fork"], record["end"], record["status"]) == ("main", 4, 8, "trained")
    assert [each["iteration"] for each in record["checkpoints"]] == [6, 8]
    assert all(re.fullmatch("[0-9a-f]{64}", each["sha256"]) for each in record["checkpoints"])
    assert record["consumed_samples"] == 8 * BATCH
    names = [json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert names == ["started", "saved", "stopped", "started", "saved", "done"]
    assert not list((folder / "checkpoints").glob("iter_0000004"))  # the fork copied nothing


def test_a_trained_path_is_not_trained_again(campaign: Path) -> None:
    before = losses(campaign, "v1")
    ended = train_path(campaign, "v1")
    assert ended.codes == [0]
    assert losses(campaign, "v1") == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("max: 3.0e-3", ("lr", "0.003", "0.001")),
        ("iters: 8", ("versions.v1.iters", "8", "9")),
        ("data/v1", ("versions.v1.train", "data/v1", "data/v2")),
    ],
)
def test_a_changed_past_is_refused_before_training(campaign: Path, change: str, words: tuple[str, ...]) -> None:
    to = {"max: 3.0e-3": "max: 1.0e-3", "iters: 8": "iters: 9", "data/v1": "data/v3"}[change]
    other = campaign.with_name("changed.yaml")
    text = campaign.read_text().replace(change, to)
    other.write_text(text)
    if to == "data/v3":
        for suffix in (".bin", ".idx"):
            source = campaign.parent / "data" / f"v2{suffix}"  # other content: a copy of v1 is v1
            (campaign.parent / "data" / f"v3{suffix}").write_bytes(source.read_bytes())
        words = ("versions.v1.train", "data/v1", "data/v3")
    ended = train_path(other, "v2")
    assert ended.codes == [78]
    assert all(word in ended.log for word in words), ended.log
    assert "iteration       12/" not in ended.log


def test_a_changed_tokenizer_is_refused(campaign: Path) -> None:
    file = campaign.parent / "data" / "vocabulary.txt"
    original = file.read_text()
    file.write_text("b\na\nc\n")
    try:
        ended = train_path(campaign, "v2")
    finally:
        file.write_text(original)
    assert ended.codes == [78]
    assert "tokenizer" in ended.log


def test_another_layout_with_the_distributed_optimizer_is_refused(campaign: Path) -> None:
    ended = train_path(campaign, "v2", "--tensor-model-parallel-size", "2", ranks=2)
    assert ended.codes == [78, 78]
    assert "TP=2 in this run, TP=1 in" in ended.log


def test_saves_that_would_lose_the_optimizer_are_refused_before_training(campaign: Path) -> None:
    ended = train_path(campaign, "v2", "--dist-ckpt-optim-fully-reshardable", "--overlap-grad-reduce")
    assert ended.codes == [78]
    assert "saves the optimizer's state of all buckets but the first at wrong offsets" in ended.log


def test_too_few_micro_batches_for_virtual_stages_are_refused_before_training(tmp_path: Path) -> None:
    stages = ", pipeline-model-parallel-size: 2, num-layers-per-virtual-pipeline-stage: 1"
    plan = write_campaign(tmp_path, extra=stages, processes=2)
    text = (
        plan.read_text().replace("num-layers: 2", "num-layers: 4").replace("micro-batch-size: 2", "micro-batch-size: 4")
    )
    plan.write_text(text.replace(", valid: {a: data/valid}", ""))
    ended = train_path(plan, "main", ranks=2)
    assert ended.codes == [78, 78]
    assert "1 micro-batches an iteration, and virtual stages take them in groups of 2" in ended.log


def test_flags_that_contradict_the_plan_are_refused_by_name(campaign: Path) -> None:
    ended = train_path(campaign, "v2", "--lr", "1e-4")
    assert ended.codes == [78]
    assert "--lr 0.0001 contradicts the plan's 0.003" in ended.log


def test_a_missing_fork_point_is_refused(campaign: Path, tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    ended = train_path(plan, "v1")
    assert ended.codes == [78]
    assert "fork point at iteration 4 is not in" in ended.log
