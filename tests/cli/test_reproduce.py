"""`lrps reproduce`: a study trained for real, what it leaves, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import Lrps
from tests.training.campaigns import rates, write_campaign

PATHS = """
- {name: first, version: v1, end: 4, schedule: [{kind: cosine, until: 8}]}
- {name: second, version: v2, parent: first, fork: 4, end: 8, schedule: [{kind: linear, until: 8}]}
"""
"""The paper's pilot study in small: the first stage is left half-way down its cosine."""


def write_study(folder: Path) -> Path:
    plan = write_campaign(folder)
    text = plan.read_text().replace("iters: 8", "iters: 4").replace("iters: 6", "iters: 4")
    plan.write_text(text.replace(", warmup_iters: 2", "").replace("hidden-dropout: 0.1", "hidden-dropout: 0.0"))
    file = folder / "study.yaml"
    study = {"study": "Pilot", "save": "study", "seeds": [5, 6], "base": "plan.yaml"}
    file.write_text(yaml.safe_dump({**study, "runs": {"stage-1": {"paths": yaml.safe_load(PATHS)}}}))
    return file


@pytest.mark.training
def test_a_pilot_study_is_trained_shown_and_gone_on_with(tmp_path: Path, lrps: Lrps) -> None:
    file = write_study(tmp_path)
    done = lrps("reproduce", file, "--seeds", "1")
    assert done.code == 0, done.stderr
    results = tmp_path / "study" / "results"
    page = (results / "results.md").read_text()
    assert page.startswith("# Pilot\n")
    assert "![stage-1](runs/stage-1.png)" in page
    assert {path.name for path in (results / "runs").iterdir()} == {"stage-1.png", "stage-1.svg"}
    rows = list(csv.DictReader((results / "results.csv").read_text().splitlines()))
    assert [(row["seed"], row["path"]) for row in rows] == [("5", "first"), ("5", "second")]
    # Half-way down the cosine the first stage is left at the mean of max and min; the second begins at max again.
    (tmp_path / "run").symlink_to(tmp_path / "study" / "stage-1-5")
    assert rates(file, "first")[4] == pytest.approx(1.65e-3)
    assert rates(file, "second")[6] == pytest.approx(1.65e-3)  # half-way down four iterations, after the sixth
    # The same command has nothing to train; what it shows comes from files on disk.
    again = lrps("reproduce", file, "--seeds", "1", "--json")
    assert again.code == 0, again.stderr
    shown = json.loads(again.stdout[again.stdout.index("{") :])
    assert [line["perplexity"].keys() for line in shown["lines"]] == [{"5"}, {"5"}]
    assert lrps("reproduce", file, "--show").stdout.endswith(f"{results}\n")


def test_plans_are_written_for_another_launcher(tmp_path: Path, lrps: Lrps) -> None:
    file = write_study(tmp_path)
    done = lrps("reproduce", file, "--plans")
    files = [Path(line) for line in done.stdout.splitlines()]
    assert [each.name for each in files] == ["stage-1-5.yaml", "stage-1-6.yaml"]
    assert lrps("plan", files[0]).code == 0
    refused = lrps("reproduce", file, "--show")
    assert (refused.code, refused.stdout) == (78, "")
    assert "holds no trained version yet" in refused.stderr


def test_an_unknown_run_is_refused_with_those_that_exist(tmp_path: Path, lrps: Lrps) -> None:
    refused = lrps("reproduce", write_study(tmp_path), "--run", "stage-9")
    assert refused.code == 78
    assert "stage-9 is no run of" in refused.stderr
    assert "name one of stage-1" in refused.stderr
