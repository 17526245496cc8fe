"""The real packages of W&B, MLflow and Comet, offline: a path that was stopped and went on, and a branch off it."""

import importlib.util
import json
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import log_event
from tests.training.campaigns import losses, train_path, write_campaign
from tests.training.trackers.wandb_file import history, records

pytestmark = pytest.mark.training
THERE = {name: importlib.util.find_spec(name) is not None for name in ("wandb", "mlflow", "comet_ml")}
OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
SECRET = "s3cret"
STALL = "tiny main: stall at iteration 4"


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not THERE[name], reason=f"needs {name}, which no part of the plugin does")


@dataclass(frozen=True, kw_only=True)
class Tracked:
    plan: Path

    def folder(self, path: str) -> Path:
        return self.plan.parent / "run" / "paths" / path

    def run_id(self, path: str) -> str:
        return str(json.loads((self.folder(path) / "tracked.json").read_text())["id"])


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Main to 4 and on to 11, then v1 from 4 to 8; a rule that is too strict raises alerts."""
    if not any(THERE.values()):
        pytest.skip("needs wandb, mlflow or comet-ml")
    folder = tmp_path_factory.mktemp("tracked")
    project = ", wandb-project: llama" if THERE["wandb"] else ""
    plan = write_campaign(folder, extra=f"{project}, one-logger-run-name: 'https://ann:{SECRET}@example.org/x'")
    chosen = {
        "mlflow": f"mlflow: {{uri: 'file:{folder}/mlruns'}}" if THERE["mlflow"] else "",
        "comet": "comet: {online: false}" if THERE["comet_ml"] else "",
    }
    trackers = f"trackers: {{{', '.join(filter(None, chosen.values()))}}}\n"
    rules = "alerts: {window: 8, grad_norm: 1.000001, cool_down: 0}\n"
    plan.write_text(plan.read_text().replace("max: 3.0e-3", "max: 0.3") + trackers + rules)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        ended = [train_path(plan, "main", "--exit-interval", "4")]
        # As its judge writes it, and then kills the ranks: the next start tells it.
        main = CampaignFolder(folder / "run").path("main")
        log_event(main, "alert", iteration=4, kind="stall", message="stall: no iteration for 400 s", values={})
        ended += [train_path(plan, "main"), train_path(plan, "v1")]
    assert [each.codes for each in ended] == [[75], [0], [0]], ended[-1].log[-3000:]
    assert "could not be reached" not in "".join(each.log for each in ended)
    return Tracked(plan=plan)


@needs("wandb")
def test_wandb_has_a_run_for_each_path_that_goes_on(tracked: Tracked) -> None:
    runs = {
        path: sorted(tracked.folder(path).glob("checkpoints/wandb/wandb/offline-run-*/run-*.wandb"))
        for path in ("main", "v1")
    }
    assert [len(files) for files in runs.values()] == [2, 1]
    for path, files in runs.items():
        seen: dict[int, float] = {}
        for file in files:
            found = records(file)
            (run,) = (record.run for record in found if record.HasField("run"))
            assert (run.run_id, run.run_group, run.display_name) == (tracked.run_id(path), "tiny", path)
            config = {item.key: item.value_json for item in run.config.update}
            assert json.loads(config["hidden_size"]) == 64
            assert json.loads(config["lrps_fork"]) == {"main": "0", "v1": "4"}[path]
            assert SECRET.encode() not in file.read_bytes()
            seen |= history(found, "lm loss")
        assert seen == pytest.approx(losses(tracked.plan, path))  # v1 begins at 5
    alerts = [record.alert for file in runs["main"] for record in records(file) if record.HasField("alert")]
    assert any(each.title.startswith("tiny main: grad_norm at iteration ") for each in alerts)
    assert [each.text for each in alerts if each.title == STALL] == ["stall: no iteration for 400 s"]
    names = {record.request.log_artifact.artifact.name for file in runs["main"] for record in records(file)}
    assert (tracked.folder("main") / "checkpoints" / "latest_wandb_artifact_path.txt").is_file()
    assert names <= {"", "tiny-main"}


@needs("mlflow")
def test_mlflow_has_an_experiment_with_a_run_for_each_path_that_goes_on(
    tracked: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"file:{tracked.plan.parent}/mlruns")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["main", "v1"]
    for path, run in runs.items():
        logged = [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "lm loss")]
        assert len(logged) == len(losses(tracked.plan, path))  # none twice
        assert dict(logged) == pytest.approx(losses(tracked.plan, path))
        assert run.data.tags["lrps.run"] == tracked.run_id(path)
        assert (run.info.status, run.data.params["hidden_size"]) == ("FINISHED", "64")
        assert run.data.params["one_logger_run_name"] == "https://example.org/x"
    assert runs["v1"].data.tags["lrps.parent"] == "main"
    assert runs["main"].data.tags["lrps.alert"].startswith("tiny main: grad_norm at iteration ")
    assert runs["main"].data.tags["lrps.alert.stall"] == f"{STALL}: stall: no iteration for 400 s"


@needs("comet_ml")
def test_comet_has_an_experiment_for_each_path_that_goes_on(tracked: Tracked) -> None:
    for path, starts in (("main", 2), ("v1", 1)):
        files = sorted((tracked.folder(path) / "comet").glob("*/*.zip"))
        assert len(files) == starts
        seen: dict[int, float] = {}
        others: defaultdict[str, list[Any]] = defaultdict(list)
        for file in files:
            archive = zipfile.ZipFile(file)
            about = json.loads(archive.read("experiment.json"))
            assert (about["offline_id"], about["project_name"]) == (tracked.run_id(path), "tiny")
            assert about["resume_strategy"] == "get_or_create"
            text = archive.read("messages.json").decode()
            assert SECRET not in text
            for message in map(json.loads, text.splitlines()):
                payload = message["payload"]
                if message["type"] == "metric_msg" and payload["metric"]["metricName"] == "lm loss":
                    seen[payload["metric"]["step"]] = float(payload["metric"]["metricValue"])
                elif message["type"] == "log_other":
                    others[payload["key"]].append(payload["value"])
        assert seen == pytest.approx(losses(tracked.plan, path))
        assert others["lrps.state"] == (["stopped", "finished"] if starts == 2 else ["finished"])
        assert (others["Name"][0], others["lrps.fork"][0]) == (f"tiny {path}", {"main": "0", "v1": "4"}[path])
        if path == "main":
            assert any("grad_norm at iteration" in each for each in others["lrps.alert"])
            assert others["lrps.alert"].count(f"{STALL}: stall: no iteration for 400 s") == 1
