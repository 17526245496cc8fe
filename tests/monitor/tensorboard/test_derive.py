"""What TensorBoard is given of a campaign, read back with TensorBoard's own reader."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import plugin_data_pb2

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import log_event
from megatron_lrps.errors import StorageError
from megatron_lrps.monitor.tensorboard.derive import Derived, derive
from megatron_lrps.monitor.version_costs import version_costs
from megatron_lrps.plan import Tree
from megatron_lrps.storage import ownership
from tests.monitor.test_printed_figures import begin, line, validation

HOSTILE = "<script>alert(1)</script>|\n**x**\ud800"


def campaign_of(tree: Tree) -> CampaignFolder:
    return CampaignFolder(tree.plan.folder)


def derived(tree: Tree) -> Derived:
    return derive(Campaign(tree))


def run(tree: Tree, name: str) -> EventAccumulator:
    """What TensorBoard has of a run; its derived file alone, as Megatron's has tags of its own."""
    folder = campaign_of(tree).root / "tensorboard" / name
    (file,) = folder.glob("*.lrps")
    return EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def texts(found: EventAccumulator, tag: str) -> list[tuple[int, str]]:
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found.Tensors(f"_campaign/{tag}")]


def hparams(found: EventAccumulator, tag: str) -> Any:
    metadata = found.SummaryMetadata(f"_hparams_/{tag}")
    return plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)


def files(tree: Tree) -> dict[str, bytes]:
    folder = campaign_of(tree).root / "tensorboard"
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.lrps"))}


def write_log(tree: Tree, path: str, *lines: str) -> None:
    folder = campaign_of(tree).path(path).logs
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0.log").write_text("".join(f"{each}\n" for each in lines))


def save(tree: Tree, path: str, iteration: int) -> None:
    folder = campaign_of(tree).path(path).checkpoints / f"iter_{iteration:07d}"
    folder.mkdir(parents=True)
    for name in (".metadata", "metadata.json"):
        (folder / name).write_text("x")
    log_event(campaign_of(tree).path(path), "saved", iteration=iteration)


@pytest.fixture
def tree(make_tree, log_job) -> Tree:
    """Main is trained to 140 and v1 from 40 to 100, of 4 samples of 8 tokens an iteration; the rest has not begun."""
    tree = make_tree(2, 100, paradigm="[lrps, cpt]")
    for path, fork, end in (("main", 0, 140), ("v1", 40, 100)):
        folder = campaign_of(tree).path(path)
        log_event(folder, "started", iteration=fork, forked=fork > 0)
        values: list[tuple[str, int, float]] = []
        for i in range(fork + 1, end + 1):
            values += [("lm loss", i, 2 + 8 / i), ("lm loss vs samples", 4 * i, 2 + 8 / i)]
            values += [("learning-rate", i, 3e-4), ("grad-norm", i, 1.0)]
        log_job(campaign_of(tree).tensorboard(path), [*values, ("lm loss validation-v1-web", end, math.log(16))])
        for iteration in (40, 140) if path == "main" else (end,):
            save(tree, path, iteration)
        log_event(folder, "done", iteration=end)
    return tree


def test_nothing_begun(make_tree):
    tree = make_tree(2, 100)
    done = derived(tree)
    assert (done.changed, done.notes) == ((), ("Nothing has begun.",))
    assert done.folder == campaign_of(tree).root / "tensorboard"
    assert not done.folder.exists()


def test_only_paths_that_have_begun_are_runs(tree):
    assert derived(tree).changed == ("main", "v1", ".")
    assert sorted(files(tree)) == [f"{name}events.out.tfevents.0000000000.lrps" for name in ("", "main/", "v1/")]


def test_a_second_call_changes_nothing(tree):
    derived(tree)
    before = files(tree)
    assert derived(tree).changed == ()
    assert files(tree) == before


def test_figures_over_tokens(tree):
    derived(tree)
    found = run(tree, "v1")
    assert scalars(found, "lm loss vs tokens")[0] == (41 * 32, pytest.approx(2 + 8 / 41))  # 4 samples of 8 tokens
    assert scalars(found, "lm loss validation-v1-web vs tokens") == [(3200, pytest.approx(math.log(16)))]
    assert len(scalars(found, "grad-norm vs tokens")) == 60
    assert "lm loss" not in found.Tags()["scalars"]  # Megatron's own


def test_a_rewound_iteration_is_its_last_training_over_tokens(tree, log_job):
    log_job(campaign_of(tree).tensorboard("v1"), [("lm loss", 61, 5.0)])
    derived(tree)
    assert scalars(run(tree, "v1"), "lm loss vs tokens")[-1] == (61 * 32, 5.0)


def test_markers_lie_on_the_curves(tree):
    folder = campaign_of(tree).path("v1")
    log_event(folder, "stopped", iteration=70, reason="SIGTERM")
    log_event(folder, "started", iteration=70, forked=False)
    derived(tree)
    main, v1 = run(tree, "main"), run(tree, "v1")
    assert scalars(main, "markers/fork point at 40 learning-rate") == [(40, pytest.approx(3e-4))]
    assert scalars(main, "markers/fork point at 140 lm loss") == [(140, pytest.approx(2 + 8 / 140))]
    assert scalars(main, "markers/saved") == [(40, pytest.approx(3e-5)), (140, pytest.approx(3e-5))]
    assert scalars(v1, "markers/forked at 40 lm loss") == [(40, pytest.approx(2.2))]  # main's there: 2 + 8 / 40
    # Half-way down a cosine from 3e-4 to 3e-5, at 70 of (40, 100].
    assert scalars(v1, "markers/stopped at 70 learning-rate") == [(70, pytest.approx(1.65e-4))]
    assert scalars(v1, "markers/resumed at 70 learning-rate") == [(70, pytest.approx(1.65e-4))]
    assert scalars(v1, "markers/ended at 100 learning-rate") == [(100, pytest.approx(3e-5))]


def test_a_path_and_its_history_in_words(tree):
    folder = campaign_of(tree).path("v1")
    log_event(folder, "failed", iteration=70, message=HOSTILE)
    folder.events.open("a").write('{"event": "saved", "iteration": 71, "time": "9999-99-99"}\n[1]\n{"event": 4}\n{torn')
    derived(tree)
    found = run(tree, "v1")
    ((_, path),) = texts(found, "path")
    assert "| parent | main, forked at 40 |" in path
    assert "| iterations | (40, 100&#93; |" in path
    history = dict(texts(found, "events"))
    assert sorted(history) == [40, 70, 100]
    assert "forked at 40 |" in history[40]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#124; &#42;&#42;x" in history[70]
    assert "\n| main | - | - | 0 | 140 | 140 |" in texts(run(tree, "."), "campaign")[0][1]


def test_a_campaign_that_has_come_to_no_version_yet(make_tree, log_job):
    tree = make_tree(2, 100)
    log_event(campaign_of(tree).path("main"), "started", iteration=0)
    assert derived(tree).changed == ("main", ".")
    assert run(tree, ".").Tags()["tensors"] == ["_campaign/campaign"]  # neither charts nor columns
    log_job(campaign_of(tree).tensorboard("main"), [("lm loss", 1, 9.0)])
    assert derived(tree).changed == ("main", ".")
    assert set(run(tree, ".").Tags()["tensors"]) == {"_campaign/campaign", "custom_scalars__config__"}


def test_charts_are_those_of_what_was_logged(tree):
    derived(tree)
    (event,) = run(tree, ".").Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    charts = {each.title: [chart.title for chart in each.chart] for each in layout.category}
    assert list(charts) == [
        *("LR paths", "Loss by path", "Validation by window", "Validation by window, over samples"),
        *("Validation by window, over tokens", "Precision"),
    ]
    axes = [f"training loss over {axis}" for axis in ("iterations", "samples", "tokens")]
    assert charts["Loss by path"] == [*axes, "loss at forks and ends"]
    assert charts["Validation by window"] == ["v1-web"]  # v2's set has not been evaluated
    assert charts["Precision"] == ["gradient norm"]
    assert [each.closed for each in layout.category] == [False, False, False, True, True, False]


def test_a_chart_for_each_fp8_figure_that_a_script_logs(tree, log_job):
    log_job(campaign_of(tree).tensorboard("v1"), [("fp8 amax (layer 1)", 41, 3.0)])
    derived(tree)
    (event,) = run(tree, ".").Tensors("custom_scalars__config__")
    precision = Layout.FromString(event.tensor_proto.string_val[0]).category[-1]
    assert [chart.title for chart in precision.chart] == ["fp8 amax (layer 1)", "gradient norm"]
    assert precision.chart[0].multiline.tag == [r"fp8\ amax\ \(layer\ 1\)$"]


def score(tree: Tree, path: str, iteration: int) -> None:
    folder = campaign_of(tree).root / "eval" / path
    folder.mkdir(parents=True)
    known = {"format": 1, "path": path, "iteration": iteration, "checkpoint_sha256": None}
    sets = {"v1-web": {"perplexity": 9.5, "loss": math.log(9.5)}}
    tasks = {"arc": {"metrics": {"acc": 0.5, "acc_stderr": 0.01}}}
    (folder / "results.json").write_text(json.dumps({**known, "perplexity": sets, "tasks": tasks}))


def test_hparams_of_a_version_with_its_scores_and_cost(tree):
    score(tree, "v1", 100)
    derived(tree)
    found = run(tree, "v1")
    start = hparams(found, "session_start_info").session_start_info
    numbers = {name: value.number_value or value.string_value for name, value in start.hparams.items()}
    assert start.group_name == "v1"
    assert {"fork": 40, "end": 100, "iterations": 60, "tokens": 3200, "alpha": 0.6}.items() <= numbers.items()
    assert {"shape": "cosine", "paradigm": "lrps", "parent": "main", "max lr": 3e-4}.items() <= numbers.items()
    assert hparams(found, "session_end_info").session_end_info.status == 1  # STATUS_SUCCESS
    assert scalars(found, "scores/ppl/v1-web") == [(100, 9.5)]
    assert scalars(found, "scores/validated ppl/v1-web") == [(100, pytest.approx(16))]
    assert scalars(found, "scores/acc/arc") == [(100, 0.5)]
    assert scalars(found, "cost/iterations so far") == [(100, 100.0)]
    assert scalars(found, "cost/of PTFS") == [(100, 1.0)]
    metrics = hparams(run(tree, "."), "experiment").experiment.metric_infos
    assert {each.name.tag for each in metrics} == {
        tag for tag in found.Tags()["scalars"] if tag[:5] in ("score", "cost/")
    }
    assert "_hparams_/session_start_info" not in run(tree, "main").Tags()["tensors"]  # main is no version


def test_scores_of_another_checkpoint_are_left_out_and_named(tree):
    score(tree, "v1", 90)
    assert "v1 was scored at iteration 90, not at its end, 100: left out." in derived(tree).notes
    assert "scores/ppl/v1-web" not in run(tree, "v1").Tags()["scalars"]


def test_a_path_that_trains_on_only_appends(tree, log_job):
    log_event(campaign_of(tree).path("cpt-v1"), "started", iteration=0)
    job = campaign_of(tree).tensorboard("cpt-v1")
    values = [("lm loss", i, 3.0) for i in range(1, 11)]
    file = log_job(job, values[:5])
    derived(tree)
    path = job / "events.out.tfevents.0000000000.lrps"
    before = path.read_bytes()
    last = before.index(b"cost/")  # its session's figures so far come last
    other = log_job(job.parent.parent / "other", values)
    file.write_bytes(other.read_bytes())
    assert set(derived(tree).changed) == {"cpt-v1", "."}
    (after,) = job.glob("*.lrps")
    assert after.read_bytes()[: last - 100] == before[: last - 100]


def test_the_version_table_is_made_from_what_was_logged_alone(tree):
    before = version_costs(Campaign(tree))
    write_log(tree, "v1", begin(), *(line(i, i, 9.0) for i in range(41, 101)), validation(100, 9.0))
    write_log(tree, "cpt-v1", begin(), line(100, 1, 9.0), validation(100, 9.0))
    assert "cpt-v1/backfilled" in derived(tree).changed
    assert version_costs(Campaign(tree)) == before


def test_what_is_not_logged_is_backfilled_from_the_logs(tree, log_job):
    folder = campaign_of(tree).tensorboard("v1")
    (file,) = folder.glob("events*")
    file.unlink()
    log_job(folder, [("lm loss", i, 2.0) for i in (41, 42, 43)])
    lines = [line(i, i, 9.0 - i / 100) for i in range(41, 47)]
    write_log(tree, "v1", begin(), *lines, validation(46, 3.0))
    done = derived(tree)
    found = run(tree, "v1/backfilled")
    assert scalars(found, "lm loss") == [
        (44, pytest.approx(8.56)),
        (45, pytest.approx(8.55)),
        (46, pytest.approx(8.54)),
    ]
    assert scalars(found, "lm loss vs samples")[0] == (176, pytest.approx(8.56))
    assert scalars(found, "lm loss vs tokens")[0] == (44 * 32, pytest.approx(8.56))
    assert scalars(found, "lm loss validation-v1-web") == [(46, 3.0)]
    assert scalars(found, "lm loss validation-v1-web vs tokens") == [(46 * 32, 3.0)]
    assert [step for step, _ in scalars(found, "learning-rate")] == list(range(41, 47))  # none was logged
    assert "read from what Megatron printed" in texts(found, "backfilled")[0][1]
    (said,) = [note for note in done.notes if note.startswith("v1:")]  # 4 tags of 6 lines, 3 losses, 2 of validation
    assert said.startswith("v1: 29 figures of 7 tags, of iterations 41 to 46, are not in its event files")
    # Times and throughput are printed alone, unless Megatron is asked for them.
    assert scalars(run(tree, "v1"), "printed/throughput")[0] == (43, 41.5)


def test_a_lost_folder_is_backfilled_but_for_the_second_loss(tree):
    (file,) = campaign_of(tree).tensorboard("v1").glob("events*")
    file.unlink()
    write_log(tree, "v1", begin(), *(line(i, i, 9.0) for i in range(41, 45)))
    notes = derived(tree).notes
    assert "v1: the loss of iteration 42 is lost: its log has a mean with the iterations before." in notes
    assert [step for step, _ in scalars(run(tree, "v1/backfilled"), "lm loss")] == [41, 43, 44]


def test_what_is_logged_after_all_is_backfilled_no_more(tree, log_job):
    write_log(tree, "cpt-v1", begin(), *(line(i, i, 9.0) for i in range(1, 5)))
    assert "cpt-v1/backfilled" in derived(tree).changed
    tags = ("lm loss", "learning-rate", "batch-size", "grad-norm", "loss-scale")
    log_job(campaign_of(tree).tensorboard("cpt-v1"), [(tag, i, 9.0) for i in range(1, 5) for tag in tags])
    assert "cpt-v1/backfilled" in derived(tree).changed
    assert not any("backfilled" in name for name in files(tree))


def test_what_was_backfilled_stays_when_its_logs_are_gone(tree, log_job):
    write_log(tree, "cpt-v1", begin(), *(line(i, i, 9.0 - i / 10) for i in range(1, 9)))
    derived(tree)
    before = scalars(run(tree, "cpt-v1/backfilled"), "lm loss")
    assert [step for step, _ in before] == [1, 3, 4, 5, 6, 7, 8]
    logs = campaign_of(tree).path("cpt-v1").logs
    (logs / "0.log").unlink()
    derived(tree)
    assert scalars(run(tree, "cpt-v1/backfilled"), "lm loss") == before
    assert derived(tree).changed == ()
    # A later log, of a resume at 6: what was trained after 6 before is no more.
    (logs / "1.log").write_text("\n".join([begin(99), line(7, 100, 2.0), line(8, 101, 2.0)]) + "\n")
    derived(tree)
    assert scalars(run(tree, "cpt-v1/backfilled"), "lm loss") == [*before[:5], (7, 2.0)]
    log_job(campaign_of(tree).tensorboard("cpt-v1"), [("lm loss", i, 9.0) for i in (1, 2, 3)])
    derived(tree)
    assert [step for step, _ in scalars(run(tree, "cpt-v1/backfilled"), "lm loss")] == [4, 5, 6, 7]


def test_a_path_that_is_being_trained_is_filled_up_to_what_its_writer_let_out(tree, log_job):
    folder = campaign_of(tree).path("cpt-v1")
    log_job(campaign_of(tree).tensorboard("cpt-v1"), [("lm loss", i, 9.0) for i in (1, 2, 5)])
    write_log(tree, "cpt-v1", begin(), *(line(i, i, 9.0) for i in range(1, 9)))
    with ownership.acquire(folder.root, say=print):
        derived(tree)
        assert [step for step, _ in scalars(run(tree, "cpt-v1/backfilled"), "lm loss")] == [3, 4]
    derived(tree)
    assert [step for step, _ in scalars(run(tree, "cpt-v1/backfilled"), "lm loss")] == [3, 4, 6, 7, 8]


def test_iterations_that_are_not_to_be_logged_are_not_missing(tree):
    plan = tree.plan.model_copy(update={"megatron": {"tensorboard-log-interval": 2}})
    write_log(tree, "cpt-v1", begin(), *(line(i, i, 9.0) for i in range(1, 9)))
    derived(Tree(plan, tree.windows, tree.paths))
    assert [step for step, _ in scalars(run(tree, "cpt-v1/backfilled"), "lm loss")] == [4, 6, 8]


def test_what_cannot_be_read_is_left_as_it_is_and_the_rest_done(tree):
    derived(tree)
    before = files(tree)
    (file,) = (file for file in campaign_of(tree).tensorboard("v1").glob("events*") if file.suffix != ".lrps")
    file.unlink()
    file.mkdir()
    write_log(tree, "v1", begin(), line(41, 1, 9.0))
    (campaign_of(tree).path("main").logs / "0.log").mkdir(parents=True)
    done = derived(tree)
    assert any(note.startswith("v1 is left as it is: ") and file.name in note for note in done.notes)
    assert any(note.startswith("The logs of main are left out: ") for note in done.notes)
    assert {name: content for name, content in files(tree).items() if name[0] in "mv"} == {
        name: content for name, content in before.items() if name[0] in "mv"
    }


def test_a_folder_that_cannot_be_written_is_named(tree):
    (campaign_of(tree).tensorboard("v1") / "events.out.tfevents.0000000000.lrps").mkdir()
    with pytest.raises(StorageError, match="v1"):
        derived(tree)


def test_megatrons_files_are_not_touched(tree):
    def logged() -> dict[Path, tuple[int, bytes]]:
        found = (campaign_of(tree).root / "tensorboard").rglob("events*")
        return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in found if file.suffix != ".lrps"}

    before = logged()
    derived(tree)
    assert logged() == before
