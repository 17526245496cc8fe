"""`lrps reproduce`: a study trained for real, what it leaves, and what it refuses."""

import csv
import json
import math
import threading
from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.cli.reproduce import alone
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.data_files import validation_sets
from tests.conftest import Lrps
from tests.monitor.conftest import LogJob, log_job
from tests.training.campaigns import rates, write_campaign

__all__ = ["log_job"]  # a fixture

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


def test_what_is_written_is_of_all_that_is_trained(tmp_path: Path, lrps: Lrps, log_job: LogJob) -> None:
    file = write_study(tmp_path)
    for name in lrps("reproduce", file, "--plans").stdout.splitlines():
        tree = expand(load_plan(Path(name)))
        loss = math.log(10.0 if tree.plan.campaign == "stage-1-5" else 14.0)
        for path in tree.paths:
            tags = [f"lm loss validation-{each}" for each in validation_sets(tree, path)]
            log_job(CampaignFolder(tree.plan.folder).tensorboard(path.name), [(tag, path.end, loss) for tag in tags])
    done = lrps("reproduce", file, "--show", "--seed", "6", "--run", "stage-1", "--json")
    assert done.code == 0, done.stderr
    assert [line["perplexity"] for line in json.loads(done.stdout)["lines"]] == [{"6": pytest.approx(14.0)}] * 2
    results = tmp_path / "study" / "results"
    rows = list(csv.DictReader((results / "results.csv").read_text().splitlines()))
    assert [(row["path"], row["seed"]) for row in rows] == [
        *(("first", "5"), ("first", "6"), ("second", "5"), ("second", "6"))
    ]
    assert "| 12.000 ± 2.828 |" in (results / "results.md").read_text()  # of 10 and 14
    # Another's plan that is damaged is named and left out; a wanted one's is an error.
    (tmp_path / "study" / "plans" / "stage-1-5.yaml").write_text("campaign: [")
    done = lrps("reproduce", file, "--show", "--seed", "6")
    assert done.code == 0
    assert "stage-1-5 is left out: " in done.stderr
    assert lrps("reproduce", file, "--show", "--seed", "5").code == 78


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seed", "7"), "7 is not a seed of"),
        (("--seed", "5", "--seeds", "1"), "--seeds 1 and --seed 5 both choose the seeds."),
    ],
)
def test_seeds_are_the_studys_own(tmp_path: Path, lrps: Lrps, options: tuple[str, ...], said: str) -> None:
    refused = lrps("reproduce", write_study(tmp_path), *options)
    assert refused.code == 78
    assert said in refused.stderr


def test_the_second_of_two_starts_waits_for_the_first(tmp_path: Path) -> None:
    seen, waiting = [], threading.Event()

    def second() -> None:
        with alone(tmp_path / ".data.lock", say=lambda line: (seen.append(line), waiting.set())):
            seen.append("second")

    thread = threading.Thread(target=second)
    with alone(tmp_path / ".data.lock", say=seen.append):
        thread.start()
        assert waiting.wait(300)
        seen.append("first")
    thread.join()
    assert seen == [f"another lrps reproduce is at work in {tmp_path}: waiting for it (.data.lock)", "first", "second"]


def test_an_unknown_run_is_refused_with_those_that_exist(tmp_path: Path, lrps: Lrps) -> None:
    refused = lrps("reproduce", write_study(tmp_path), "--run", "stage-9")
    assert refused.code == 78
    assert "stage-9 is not a run of" in refused.stderr
    assert "name one of stage-1" in refused.stderr
