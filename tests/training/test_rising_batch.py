"""A batch that rises, trained by real Megatron: main over two steps, stopped and resumed, and branches that keep it."""

import json
from pathlib import Path

import pytest

from megatron_lrps.campaign import lineage
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.monitor.scalars import read_scalars
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.flags import argument_line, path_flags
from tests.training import harness
from tests.training.campaigns import losses, rates, train_path, write_campaign
from tests.training.test_campaign import TRACED, read_by

pytestmark = pytest.mark.training

BATCHES = [2] * 2 + [4] * 7 + [6] * 5
"""Samples of each iteration, up to v2's end: the batch rises after iterations 2 and 9."""
ENDS = [sum(BATCHES[:iteration]) for iteration in range(len(BATCHES) + 1)]
STEPS = ', step-batch-size-schedule: "0:2 128:4 1024:6"'


def stepping(folder: Path) -> Path:
    """Forks at 4 and 11: v1 trains (4, 8], v2 (11, 14], and neither decays across a step."""
    plan = write_campaign(folder, extra=STEPS)
    text = plan.read_text().replace("global_batch_size: 4", "global_batch_size: 6\nparadigm: [lrps, ptfs]")
    plan.write_text(text)
    return plan


def train(plan: Path, path: str, *flags: str, code: int = 0) -> str:
    trace = plan.parent / f"trace-{path}"
    ended = train_path(plan, path, *flags, code=TRACED.replace('os.environ["TRACE"]', repr(str(trace))))
    assert ended.codes == [code], ended.log[-3000:]
    return ended.log


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Main stopped at 6, where the plan does not know v2's step yet; both versions, v2 in two pieces; and PTFS."""
    plan = stepping(tmp_path_factory.mktemp("steps"))
    text = plan.read_text()
    plan.write_text(text.replace(" 1024:6", "").replace("global_batch_size: 6", "global_batch_size: 4"))
    train(plan, "main", "--exit-interval", "6", code=75)
    plan.write_text(text)
    train(plan, "main")
    train(plan, "v1")
    train(plan, "v2", "--exit-interval", "13", code=75)
    train(plan, "v2")
    train(plan, "ptfs-v1")
    return plan


def test_main_reads_each_sample_once_and_in_the_order_of_one_batch(plan: Path) -> None:
    expected = [(p, "v1", p) if p < ENDS[8] else (p, "v2", p - ENDS[8]) for p in range(ENDS[11])]
    assert read_by(plan, "main") == expected
    logged = dict(read_scalars(plan.parent / "run" / "tensorboard" / "main", "batch-size"))
    assert [logged[iteration] for iteration in range(1, 12)] == BATCHES[:11]


def test_a_branch_keeps_its_batch_and_reads_what_main_reads_there(plan: Path) -> None:
    assert read_by(plan, "v1") == read_by(plan, "main")[ENDS[4] : ENDS[8]]
    assert read_by(plan, "v2") == [(p, "v2", p - ENDS[8]) for p in range(ENDS[11], ENDS[14])]
    assert losses(plan, "v1")[5] == losses(plan, "main")[5]
    assert [*losses(plan, "v2")] == [12, 13, 14]


def test_ptfs_has_the_steps_from_its_own_start(plan: Path) -> None:
    read = read_by(plan, "ptfs-v1")
    assert [position for position, _, _ in read] == list(range(ENDS[8]))
    assert {sample for _, _, sample in read} == set(range(ENDS[8]))
    logged = dict(read_scalars(plan.parent / "run" / "tensorboard" / "ptfs-v1", "batch-size"))
    assert [logged[iteration] for iteration in range(1, 9)] == BATCHES[:8]


def test_a_stop_changes_no_digit(plan: Path, tmp_path: Path) -> None:
    whole = stepping(tmp_path)
    train(whole, "main")
    assert losses(whole, "main") == losses(plan, "main")
    assert rates(whole, "main") == rates(plan, "main")


def test_the_learning_rate_is_a_function_of_the_sample(plan: Path) -> None:
    tree = Campaign.open(plan).tree
    for name in ("main", "v1", "v2"):
        for iteration, logged in rates(plan, name).items():
            planned = tree.path(name).schedule.lr(ENDS[iteration], max_lr=3e-3, min_lr=3e-4)
            assert logged == pytest.approx(planned, rel=1e-7), (name, iteration)
    assert rates(plan, "v1")[8] == rates(plan, "v2")[14] == pytest.approx(3e-4)


def test_record_and_ledger_add_up(plan: Path) -> None:
    campaign = Campaign.open(plan)
    record = json.loads(campaign.folder.path("v2").record.read_text())
    assert record["consumed_samples"] == ENDS[14]
    assert (record["global_batch_size"], record["batches"]) == (6, [[0, 2], [ENDS[2], 4], [ENDS[9], 6]])
    # Megatron saves before each step; 6 is where main was stopped, 4 and 11 are the forks.
    main = json.loads(campaign.folder.path("main").record.read_text())
    assert [each["iteration"] for each in main["checkpoints"]] == [2, 4, 6, 9, 11]
    facts = lineage.facts_of(campaign, "v2")
    assert not facts.notes
    ledger = lineage.ledger_of(campaign, facts, lineage.chain_of(campaign, facts))
    assert [(each.path, each.version, each.start, each.until, each.samples) for each in ledger] == [
        ("main", "v1", 0, 8, ENDS[8]),
        ("main", "v2", 8, 11, ENDS[11] - ENDS[8]),
        ("v2", "v2", 11, 14, ENDS[14] - ENDS[11]),
    ]


def test_other_batches_for_what_is_trained_are_refused(plan: Path) -> None:
    text = plan.read_text()
    try:
        plan.write_text(text.replace("128:4", "256:4"))
        assert "has been trained, the plan now says 2 (4 from iteration 5 on" in train(plan, "v2", code=78)
    finally:
        plan.write_text(text)
    assert "contradicts the plan's" in train(plan, "v2", "--step-batch-size-schedule", "0:2", code=78)


def test_main_goes_on_from_a_run_of_stock_with_its_own_steps(tmp_path: Path) -> None:
    """Stock counts its warm-up and its end in samples, and its batches and rates are those of our main."""
    plan = write_campaign(tmp_path / "ours", extra=', step-batch-size-schedule: "0:2 128:4"')
    tree = expand(load_plan(plan))
    decided = (
        *("save", "train-iters", "lr-warmup", "tensorboard-dir"),
        *("full-validation", "multiple", "eval", "data-cache"),
    )
    flags = {key: value for key, value in path_flags(tree, tree.path("main")).items() if not key.startswith(decided)}
    steps = f"import sys; sys.argv += ['--step-batch-size-schedule', {flags.pop('step-batch-size-schedule')!r}]; "
    stock = tmp_path / "stock"
    harness.train(
        stock,
        f"--train-data-path {plan.parent / 'data' / 'v1'} --train-samples {ENDS[4]} --lr-warmup-samples {ENDS[2]}"
        f" --eval-iters 0 --eval-interval 100 --save {stock} --save-interval 4 --data-cache-path {tmp_path / 'cache'}",
        base=" ".join(argument_line({key: value for key, value in flags.items() if not key.endswith("-data-path")})),
        code=steps + harness.GPT,
    )
    logged = harness.read_scalars(stock / "events")
    assert [value for _, value in logged["batch-size"]] == BATCHES[:4]
    for iteration, rate in logged["learning-rate"]:
        planned = tree.path("main").schedule.lr(ENDS[iteration], max_lr=3e-3, min_lr=3e-4)
        assert rate == pytest.approx(planned, rel=1e-7), iteration

    text = plan.read_text().replace("versions:\n", f"main: {{adopt: {stock}, iteration: 4}}\nversions:\n")
    plan.write_text(text.replace("128:4", "64:4"))
    words = "was trained with a batch of 2 (4 from iteration 3 on), and the plan's is 2 (4 from iteration 2 on)"
    assert words in train(plan, "main", code=78)
    plan.write_text(text)
    train(plan, "main", "--lrps-until", "8")
    assert [position for position, _, _ in read_by(plan, "main")] == list(range(ENDS[4], ENDS[8]))
    assert [*losses(plan, "main")] == [5, 6, 7, 8]
