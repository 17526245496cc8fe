"""The quick start to its end: real text, versions trained by real Megatron, scored, exported, and what is shown."""

import csv
import importlib.util
import json
from pathlib import Path
from statistics import mean

import pytest
from matplotlib.image import imread

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli import quickstart
from megatron_lrps.cli.quickstart import PLAN, STUDY
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.scalars import read_scalars
from megatron_lrps.monitor.score_table import score_table
from megatron_lrps.monitor.version_costs import version_costs
from megatron_lrps.plan import expand, load_plan, parse_plan
from megatron_lrps.plan.study import load_study, trials_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.training
def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # The same command with less of everything: a third of the text, two versions of four iterations, a tiny model, one
    # rank.
    monkeypatch.setattr(quickstart, "VOCABULARY", 1024)
    monkeypatch.setattr(quickstart, "WINDOW_CHARACTERS", 400_000)
    plan = "".join(line for line in PLAN.splitlines(keepends=True) if "name: v3" not in line and "name: v4" not in line)
    for old, new in (
        ("iters: 300", "iters: 4"),
        ("alpha: 0.6", "alpha: 0.5"),
        ("warmup_iters: 20", "warmup_iters: 1"),
        ("num-layers: 2", "num-layers: 1"),
        ("hidden-size: 96", "hidden-size: 48"),
        ("save-interval: 150", "save-interval: 2"),
        ("micro-batch-size: 4", "micro-batch-size: 8"),
        ("processes: 2", "processes: 1"),
    ):
        assert old in plan
        plan = plan.replace(old, new)
    monkeypatch.setattr(quickstart, "PLAN", plan)

    quickstart.quickstart(tmp_path)

    output = capsys.readouterr().out
    campaign = tmp_path / "campaign"
    # Each version is scored on the same text, and the second one, which has read more, is better.
    scores = {name: json.loads((campaign / "eval" / name / "results.json").read_text()) for name in ("v1", "v2")}
    measured = [scores[name]["perplexity"]["v1-held-out"] for name in ("v1", "v2")]
    assert measured[0]["perplexity"] > measured[1]["perplexity"]
    assert measured[0]["tokens"] == measured[1]["tokens"] > 10_000
    rows = [line.split() for line in output.splitlines() if line.startswith(("v1  ", "v2  "))]
    assert [row[:6] for row in rows] == [["v1", "v1", "2", "4", "4", "100%"], ["v2", "v2", "6", "8", "10", "83%"]]
    for row, found in zip(rows, measured, strict=True):
        assert [float(cell) for cell in row[6:]] == pytest.approx(
            [found["perplexity"], found["bits_per_byte"]], rel=1e-3
        )
    # The last one is exported, compared with Megatron, and writes.
    assert json.loads((campaign / "exports" / "v2" / "lrps.json").read_text())["iteration"] == 8
    assert "Logits differ by at most" in output
    for prompt in quickstart.PROMPTS:
        text = output.split(f"Given {prompt!r}, v2 writes (clumsily, it is so small):\n")[1]
        assert text.startswith(f"    | {prompt}")
        assert len(text.split("\nGiven")[0].split("\n\n[5/5]")[0]) > 2 * quickstart.TOKENS_WRITTEN
    # What a newcomer came for, and where it is from.
    assert "This is from docs/results.md, not from this run" in output
    assert "docs/first-campaign.md" in output
    report = campaign / "report"
    for name in ("lr-paths.png", "losses.png"):
        height, width = imread(report / name).shape[:2]
        assert height > 300
        assert width > 500
    assert "</html>" in (report / "report.html").read_text()
    assert "tensorboard --logdir" in output
    for path in ("main", "v1", "v2"):
        assert read_scalars(campaign / "tensorboard" / path, "lm loss")
    # The same command again has nothing to train or to score, and shows the same; without transformers it says so.
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        quickstart.quickstart(tmp_path)
    again = capsys.readouterr().out
    assert "is whole: nothing to do" in again
    assert "All 3 paths of campaign quickstart are trained" in again
    assert "pip install 'megatron-lrps[hf]'" in again
    shown, shown_again = (each.split("[5/5]")[1].split("The campaign on one page")[0] for each in (output, again))
    assert shown == shown_again


def test_the_plan_is_the_study_of_the_published_figures() -> None:
    """Its model, data, rates and lengths: else its figures may not stand beside the study's."""
    study = load_study(ROOT / "examples" / "paper" / "cpu.yaml")
    (trial,) = (each for each in trials_of(study, [1234]) if each.run == "cosine")
    own = parse_plan(PLAN, base=study.start, name="plan.yaml")
    for key in ("lr", "decay", "sequence_length", "global_batch_size", "tokenizer"):
        assert getattr(own, key) == getattr(trial.plan, key)
    assert [(each.name, each.iters, each.train) for each in own.versions] == [
        (each.name, each.iters, each.train) for each in trial.plan.versions
    ]
    of_this_machine = {"micro-batch-size", "save-interval", "eval-interval", "seed"}
    assert {key: value for key, value in own.megatron.items() if key not in of_this_machine} == {
        key: value for key, value in trial.plan.megatron.items() if key not in of_this_machine
    }
    data = study.study.data
    assert data is not None
    assert (data.vocab_size, data.window_characters, data.mixed) == (
        quickstart.VOCABULARY,
        quickstart.WINDOW_CHARACTERS,
        True,
    )


def test_all_versions_are_validated_on_the_same_text(tmp_path: Path) -> None:
    (name, prefix), *others = {
        each for version in parse_plan(PLAN, base=tmp_path, name="plan.yaml").versions for each in version.valid.items()
    }
    assert not others
    assert (name, Path(prefix).name) == ("held-out", "valid")


def test_the_published_figures_are_those_of_the_results() -> None:
    lines = list(csv.DictReader((ROOT / "docs" / "results" / "cpu.csv").open()))
    page = (ROOT / "docs" / "results.md").read_text()
    for paradigm, (cost, *figures) in STUDY.items():
        for schedule, figure in zip(("cosine", "knee", "multi-step"), figures, strict=True):
            seeds = [
                each for each in lines if (each["run"], each["version"], each["paradigm"]) == (schedule, "v4", paradigm)
            ]
            assert len(seeds) == 3
            assert {int(each["cost"]) for each in seeds} == {cost}
            assert figure == pytest.approx(mean(float(each["perplexity"]) for each in seeds), abs=0.006)
            (row,) = (line for line in page.splitlines() if line.startswith(f"| {schedule} | v4 |"))
            assert f"| {figure:.2f} ± " in row
    # What the quick start says of them.
    assert STUDY["lrps"][0] / STUDY["ptfs"][0] == 0.58
    for lrps, ptfs, cpt in zip(*(STUDY[name][1:] for name in ("lrps", "ptfs", "cpt")), strict=True):
        assert lrps <= 1.02 * ptfs
        assert lrps < cpt


def planned(folder: Path, text: str | None, *, baselines: bool) -> str:
    file = folder / "plan.yaml"
    if text is not None:
        file.write_text(text)
    quickstart._planned(file, baselines=baselines)
    return file.read_text()


def test_a_plan_that_is_there_stays_but_for_the_paradigms_asked_for(tmp_path: Path) -> None:
    assert planned(tmp_path, None, baselines=False) == PLAN
    edited = PLAN.replace("iters: 300", "iters: 200")
    assert planned(tmp_path, edited, baselines=False) == edited
    compares = edited.replace("paradigm: lrps #", "paradigm: [lrps, ptfs, cpt] #")
    assert compares != edited
    assert planned(tmp_path, None, baselines=True) == compares
    assert planned(tmp_path, None, baselines=True) == compares
    assert planned(tmp_path, None, baselines=False) == compares


@pytest.mark.parametrize(
    ("old", "new", "baselines", "named"),
    [
        ("paradigm: lrps", "paradigm: [cpt, ptfs]", True, "paradigm is cpt, ptfs, and --baselines compares lrps, ptfs"),
        ("device: cpu", "device: gpu", False, "launch.device is 'gpu', but the quick start trains on a CPU"),
    ],
)
def test_a_plan_that_it_cannot_train_is_refused(
    tmp_path: Path, old: str, new: str, baselines: bool, named: str
) -> None:
    with pytest.raises(RefusedError, match=named):
        planned(tmp_path, PLAN.replace(old, new), baselines=baselines)


def test_with_baselines_the_last_version_stands_by_three_ways_as_trained(tmp_path: Path) -> None:
    planned(tmp_path, None, baselines=True)
    tree = expand(load_plan(tmp_path / "plan.yaml"))
    versions = version_costs(Campaign(tree))
    perplexities = {"v4": 44.5, "ptfs-v4": 47.25, "cpt-v4": 48.0}
    results = {
        path: {"iteration": 1200, "perplexity": {"v1-held-out": {"perplexity": value}}, "tasks": {}}
        for path, value in perplexities.items()
    }
    text = quickstart._paradigms_text(versions, score_table(versions, results))
    assert "v4 by three ways to train it, in this run" in text
    cells = [line.split("  ") for line in text.splitlines() if "%" in line][:3]
    assert [[cell.strip() for cell in row if cell.strip()] for row in cells] == [
        ["LRPS, switch paths", "1,740", "58%", "44.5000"],
        ["PTFS, retrain from scratch", "3,000", "100%", "47.2500"],
        ["CPT, continue the last version", "1,200", "40%", "48.0000"],
    ]
