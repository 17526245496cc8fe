"""A trained branch to a released version, by the command line, with real Megatron, transformers and lm-eval."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import Lrps
from convert.models import write_llama_campaign
from training.campaigns import train_path

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events, read_record
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.spec import spec_of
from megatron_lrps.plan import load_plan
from tests.training.harness import write_tokens

pytestmark = pytest.mark.training

TASK = """\
task: parity
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained versions whose validation set is this file's text."""
    folder = tmp_path_factory.mktemp("campaign")
    plan = write_llama_campaign(folder)
    encoder = load_reference(spec_of(load_plan(plan)))
    paragraphs = Path(__file__).read_text(encoding="utf-8").split("\n\n")
    documents = encoder.encode(paragraphs).lists()
    write_tokens(folder / "data" / "valid", [[*ids, encoder.eod] for ids in documents])
    for path in ("main", "v1", "v2"):
        ended = train_path(plan, path)
        assert ended.codes == [0], ended.log[-3000:]
    return plan


def results_of(plan: Path, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((plan.parent / "run" / "eval" / path / "results.json").read_text())
    return found


def test_megatron_and_the_export_agree_on_the_text(campaign: Path, lrps: Lrps) -> None:
    code, _, err = lrps("eval", campaign, "v2")
    assert code == 78
    assert "is not an export of lrps" in err
    assert "lrps export PLAN v2" in err
    found = {}
    for engine in ("megatron", "export"):
        if engine == "export":
            assert lrps("export", campaign, "v2", "--no-check").code == 0
        code, out, err = lrps("eval", campaign, "v2", "--engine", engine, "--json")
        assert code == 0, err
        found[engine] = json.loads(out)["perplexity"]["v1-a"]
    assert found["megatron"]["loss"] == pytest.approx(found["export"]["loss"], abs=1e-6)
    mine = found["export"]
    assert mine["perplexity"] == pytest.approx(math.exp(mine["loss"]))
    assert mine["bits_per_byte"] == pytest.approx(mine["loss"] / math.log(2) * mine["tokens"] / mine["bytes"])
    record = read_record(CampaignFolder(campaign.parent / "run").path("v2"))
    assert record is not None
    assert record["scores"]["v2"]["scores"]["ppl/v1-a"] == mine["perplexity"]
    # Scored alike before: nothing is computed again, and nothing recorded.
    before = (campaign.parent / "run" / "eval" / "v2" / "results.json").stat().st_mtime_ns
    code, _, err = lrps("eval", campaign, "v2")
    assert (code, err) == (0, "")
    assert (campaign.parent / "run" / "eval" / "v2" / "results.json").stat().st_mtime_ns == before


def test_a_version_is_promoted_step_by_step(campaign: Path, lrps: Lrps, tmp_path: Path) -> None:
    """A gate that asks for too much, none, then the plan's tasks and a gate that is met, despite the first."""
    assert lrps("eval", campaign, "v2", "--engine", "megatron").code == 0
    gate = tmp_path / "gate.txt"
    gate.write_text("ppl/a <= 0.1 * v2\n")
    code, _, err = lrps("promote", campaign, "v1", "--gate", gate)
    assert code == 78
    assert "does not hold" in err
    folder = CampaignFolder(campaign.parent / "run")
    export = folder.root / "exports" / "v1"
    assert "does not hold" in (export / "README.md").read_text()
    code, _, err = lrps("promote", campaign, "v1")  # without a gate it is the same model
    assert code == 78
    assert "v1 did not meet its gate before, and does not now: ppl/a <= 0.1 * v2: " in err
    assert "--despite-failed-gate" in err
    assert not [event for event in events(folder.path("v1")) if event["event"] == "released"]

    lines = [{"question": f"{number} is", "choices": ["even", "odd"], "answer": number % 2} for number in range(8)]
    (tmp_path / "parity.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "parity.yaml").write_text(TASK.format(file=tmp_path / "parity.jsonl"))
    text = campaign.read_text()
    campaign.write_text(f"{text}evaluate: {{tasks: [parity], task_folder: {tasks}, limit: 6}}\npromote: {{}}\n")
    gate.write_text("ppl/a <= 1000 * v2\nacc/parity >= 0\n")
    code, out, err = lrps("promote", campaign, "v1", "--gate", gate, "--despite-failed-gate", "--json")
    campaign.write_text(text)
    assert code == 0, err
    assert "verifying" not in err  # the steps that were done are not done again
    assert "exporting" not in err
    assert "comparing" not in err
    done = json.loads(out)
    assert done["released_now"]
    assert done["results"]["tasks"]["parity"]["samples"] == 6
    assert done["results"]["tasks"]["parity"]["metrics"]["acc"] in [each / 6 for each in range(7)]
    record = read_record(folder.path("v1"))
    assert record is not None
    assert record["status"] == "released"
    assert record["released"]["v1"]["export"] == "exports/v1"
    assert list(record["released"]["v1"]["unmet"]) == ["ppl/a <= 0.1 * v2"]
    assert len(done["unmet"]) == 1
    card = (export / "README.md").read_text()
    assert card.count("## Scores") == 1
    assert "| parity | acc |" in card
    assert "Released although it does not meet its gate." in card
    assert "the logits differ by at most" in card
    code, out, _ = lrps("compare", campaign, "--format", "json")
    assert {row["path"]: set(row["scores"]) for row in json.loads(out)["versions"]} == {
        "v1": {"ppl/v1-a", "bpb/v1-a", "acc/parity"},
        "v2": {"ppl/v1-a", "bpb/v1-a"},
    }


def test_a_damaged_checkpoint_is_not_promoted(campaign: Path, lrps: Lrps) -> None:
    folder = CampaignFolder(campaign.parent / "run")
    file = next(Checkpoint(folder.path("v2").checkpoints, 14).folder.glob("*.distcp"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, _, err = lrps("promote", campaign, "v2")
    file.write_bytes(whole)
    assert code == 78
    assert "is damaged" in err
    assert not [event for event in events(folder.path("v2")) if event["event"] == "released"]


def test_an_export_of_another_checkpoint_is_not_scored(campaign: Path, lrps: Lrps, tmp_path: Path) -> None:
    assert lrps("export", campaign, "main", "--iteration", "4", "--output", tmp_path / "main", "--no-check").code == 0
    code, _, err = lrps("eval", campaign, "v2", "--export", tmp_path / "main")
    assert code == 78
    assert "its iteration is 4, and that of" in err


def test_a_task_that_is_not_there_is_named_and_nothing_lost(campaign: Path, lrps: Lrps, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    assert lrps("export", campaign, "v2", "--no-check").code == 0
    code, _, err = lrps("eval", campaign, "v2", "--tasks", "no_such_task", "--task-folder", tmp_path / "tasks")
    assert code == 1
    assert "no_such_task" in err
    assert results_of(campaign, "v2")["perplexity"]
    code, _, err = lrps("eval", campaign, "v2", "--limit", "3")
    assert code == 78
    assert "limit is given, but there are no tasks" in err
