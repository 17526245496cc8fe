"""`lrps plan` as a process of its own."""

import json
import re
from pathlib import Path

import pytest

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import EXIT_REFUSED
from tests.campaign.checkpoints import save
from tests.cli.commands import PAPER, answer, refusal, write
from tests.conftest import Lrps
from tests.plan.plans import versions
from tests.training.harness import write_tokens


def test_plan_prints_the_papers_costs(tmp_path: Path, lrps: Lrps) -> None:
    text = answer(lrps, "plan", write(tmp_path, **PAPER))
    rows = {cells[0]: cells[1:] for line in text.splitlines() if (cells := re.split(r"\s{2,}", line))}
    assert rows["LRPS, path switching"] == ["58,000", "58%"]
    assert rows["PTFS, retraining each version"] == ["100,000", "100%"]
    assert rows["CPT, continuing the last version"] == ["40,000", "40%"]
    assert "this plan in all" not in rows
    # 34,000 iterations of 1024 * 2048 tokens
    assert rows["main"] == ["-", "0", "34,000", "34,000", "71.3B", "warmup (0, 500], hold (500, 34000]"]
    assert rows["v4"] == ["main", "34,000", "40,000", "6,000", "12.6B", "cosine (34000, 40000]"]
    assert "8 checkpoints to keep" in text


def test_where_the_batch_rises_costs_are_in_samples(tmp_path: Path, lrps: Lrps) -> None:
    rising = {"megatron": {"rampup-batch-size": [2, 6, 2000]}}  # 1,000 iterations of 2, then of 8
    plan = write(tmp_path, versions=versions(5000, 5000), **rising)
    text = answer(lrps, "plan", plan)
    rows = {cells[0]: cells[1:] for line in text.splitlines() if (cells := re.split(r"\s{2,}", line))}
    samples, ptfs = 2_000 + 6_000 * 8 + 2 * 3_000 * 8, 2 * 2_000 + (4_000 + 9_000) * 8
    assert rows["LRPS, path switching"] == ["13,000", f"{samples:,}", f"{100 * samples / ptfs:.0f}%"]
    assert "samples of 16 tokens in batches of 2 (8 from iteration 1001 on)\n" in text
    assert rows["v1"] == ["main", "2,000", "5,000", "3,000", "384,000", "cosine (2000, 5000]"]
    for flags, words in (
        (["--simulate", "--seconds-per-iter", "1"], "one time for all"),
        (["--budget", "0.9"], "one batch"),
    ):
        code, _, err = lrps("plan", plan, *flags)
        assert (code, words in err, "but the batch is 2 (8 from iteration 1001 on)" in err) == (
            EXIT_REFUSED,
            True,
            True,
        )


def test_plan_of_all_paradigms_adds_up(tmp_path: Path, lrps: Lrps) -> None:
    text = answer(lrps, "plan", write(tmp_path, **PAPER | {"paradigm": ["lrps", "ptfs", "cpt"]}))
    assert re.search(r"this plan in all +198,000 +198%", text)


def test_plan_json_keys(tmp_path: Path, lrps: Lrps) -> None:
    plain = json.loads(answer(lrps, "plan", write(tmp_path), "--json"))
    always = {"campaign", "save", "paradigms", "global_batch_size", "sequence_length", "lr", "paths", "cost"}
    always |= {"batches", "checkpoints_kept", "missing_data", "windows", "branches", "refused", "unproved_flags"}
    assert set(plain) == always
    file = write(tmp_path, **PAPER, launch={"slurm": {"nodes": 4, "gpus_per_node": 8}})
    facts = json.loads(answer(lrps, "plan", file, "--json", "--tflops", "400"))
    assert set(facts) == always | {"model", "storage_bytes", "save_memory", "gpu_hours"}
    assert set(facts["lr"]) == {"max", "min", "warmup_iters"}
    assert set(facts["model"]) == {"parameters", "vocabulary", "vocabulary_assumed", "checkpoint_bytes"}
    assert set(facts["gpu_hours"]) == {"planned", "ptfs", "gpus", "days_on_gpus"}
    assert facts["gpu_hours"]["gpus"] == 32
    assert facts["gpu_hours"]["planned"] / facts["gpu_hours"]["ptfs"] == pytest.approx(0.58)
    assert facts["gpu_hours"]["days_on_gpus"] == pytest.approx(facts["gpu_hours"]["planned"] / 32 / 24)
    size = facts["global_batch_size"]
    assert facts["batches"] == [[0, size]]
    assert facts["cost"] == {
        "planned": 58_000,
        "lrps": 58_000,
        "ptfs": 100_000,
        "cpt": 40_000,
        "samples": {"planned": 58_000 * size, "lrps": 58_000 * size, "ptfs": 100_000 * size, "cpt": 40_000 * size},
        "lrps_share_of_ptfs": 0.58,
    }
    assert facts["save"] == str(tmp_path / "runs/c")
    assert facts["storage_bytes"] == 8 * facts["model"]["checkpoint_bytes"] == 8 * 14 * facts["model"]["parameters"]
    assert facts["paths"][1] == {
        "name": "v1",
        "kind": "branch",
        "paradigm": "lrps",
        "version": "v1",
        "parent": "main",
        "fork": 4_000,
        "adopted": None,
        "end": 10_000,
        "iterations": 6_000,
        "order": "chained",
        "sequence_length": 2048,
        "schedule": [
            {"kind": "warmup", "start": 0, "end": 500 * 1024},
            {"kind": "hold", "start": 500 * 1024, "end": 4_000 * 1024},
            {"kind": "decay", "start": 4_000 * 1024, "end": 10_000 * 1024, "shape": "cosine"},
        ],
        "mean": [],
    }


def test_the_json_page_names_every_key(tmp_path: Path, lrps: Lrps) -> None:
    page = (Path(__file__).parents[2] / "docs/json.md").read_text()
    file = write(tmp_path, **PAPER, launch={"slurm": {"nodes": 4, "gpus_per_node": 8}})
    facts = json.loads(answer(lrps, "plan", file, "--json", "--tflops", "400"))
    names = set(facts) | set(facts["paths"][0]) | set(facts["cost"]) | set(facts["model"]) | set(facts["gpu_hours"])
    assert {name for name in names if not re.search(rf"`{name}\b", page)} == set()


def test_plan_names_missing_data(tmp_path: Path, lrps: Lrps) -> None:
    file = write(tmp_path, versions=versions(1000, train=[[1.0, "data/a"]]))
    assert "Not there yet: 1 data index" in answer(lrps, "plan", file)
    assert json.loads(answer(lrps, "plan", file, "--json"))["missing_data"] == [str(tmp_path / "data/a")]
    (tmp_path / "data").mkdir()
    for suffix in ("bin", "idx"):
        (tmp_path / f"data/a.{suffix}").touch()
    assert "Not there yet" not in answer(lrps, "plan", file)


def test_plan_refuses_in_one_line_with_exit_code_78(tmp_path: Path, lrps: Lrps) -> None:
    assert "nowhere.yaml does not exist" in refusal(lrps, "plan", tmp_path / "nowhere.yaml")
    assert "colour is an unknown key, with the value 'red'" in refusal(lrps, "plan", write(tmp_path, colour="red"))
    file = write(tmp_path, megatron={"train-iters": 5})
    assert "megatron.train-iters: 5 is given, but the plan's versions[].iters" in refusal(lrps, "plan", file)
    assert "megatron.finetune: True is refused" in refusal(lrps, "plan", write(tmp_path, megatron={"finetune": True}))
    assert "--tflops is given, but the plan does not name" in refusal(lrps, "plan", write(tmp_path), "--tflops", "400")
    assert "--tflops inf is not a finite number" in refusal(lrps, "plan", write(tmp_path, **PAPER), "--tflops", "inf")


def test_plan_says_how_often_data_are_read(tmp_path: Path, lrps: Lrps) -> None:
    write_tokens(tmp_path / "web", [[1] * 40_000])
    listed = versions(1000, 500)
    listed[0]["train"], listed[1]["train"] = [[1.0, "web"]], [[1.0, "absent"]]
    listed[1] |= {"replay": 0.25, "max_epochs": 3.5}
    file = write(tmp_path, versions=listed)
    code, text, stderr = lrps("plan", file)
    # What a run would refuse is refused here, behind the tables.
    assert (code, stderr.count("\n")) == (78, 1)
    assert f"versions.v2: replays {tmp_path}/web to 3.6 epochs in all, " in stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if " web" in line]
    # 8,000 samples of 16 tokens are 3.2 epochs, the 1,000 that v2 replays another 0.4
    assert rows == [
        ["v1", "web", "8,000", "40,000", "3.2", "3.2", "4"],
        ["v2", "web, replayed", "1,000", "40,000", "0.4", "3.6", "3.5 is passed"],
    ]
    code, stdout, _ = lrps("plan", file, "--json")
    assert code == 78
    v2 = json.loads(stdout)["windows"][1]
    assert (v2["version"], v2["iterations"], v2["samples"], v2["max_epochs"]) == ("v2", 500, 4000, 3.5)
    assert v2["replay"] == {"share": 0.25, "samples": {"v1": 1000}}
    assert v2["data"] == [
        {
            **{"version": "v2", "prefix": str(tmp_path / "absent"), "replayed": False, "samples": 3000},
            **{"tokens": None, "epochs": None, "epochs_in_all": None},
        },
        {
            **{"version": "v1", "prefix": str(tmp_path / "web"), "replayed": True, "samples": 1000},
            **{"tokens": 40_000, "epochs": 0.4, "epochs_in_all": 3.6},
        },
    ]
    assert "versions.v1: reads" in refusal(lrps, "run", write(tmp_path, versions=[listed[0] | {"max_epochs": 3}]))


def test_plan_says_what_a_run_would_refuse_behind_its_tables(tmp_path: Path, lrps: Lrps) -> None:
    model = {"num-layers": 4, "hidden-size": 64, "num-attention-heads": 5}
    file = write(tmp_path, megatron=model, promote={"gate": "no-gate.txt"})
    code, stdout, stderr = lrps("plan", file)
    assert code == EXIT_REFUSED
    assert "CPT, continuing the last version" in stdout
    first, second = stderr.splitlines()
    assert first.startswith("lrps: megatron.hidden-size: 64 is not a multiple of num-attention-heads 5. Fix: ")
    assert second.startswith("lrps: promote.gate: ")
    code, stdout, stderr_of_json = lrps("plan", file, "--json")
    assert (code, stderr_of_json) == (EXIT_REFUSED, stderr)
    assert [f"lrps: {each['what']} Fix: {each['mend']}" for each in json.loads(stdout)["refused"]] == [first, second]
    assert json.loads(answer(lrps, "plan", write(tmp_path), "--json"))["refused"] == []


def test_plan_refuses_a_changed_past(tmp_path: Path, lrps: Lrps) -> None:
    accept(Campaign.open(write(tmp_path)))
    save(CampaignFolder(tmp_path / "runs/c").path("main").checkpoints, 400)
    assert lrps("plan", write(tmp_path)).code == 0
    code, stdout, stderr = lrps("plan", write(tmp_path, lr={"max": 2.0e-4, "min": 3.0e-5}))
    assert (code, stderr.count("\n")) == (EXIT_REFUSED, 1)
    assert "LR 0.0002 to 3e-05" in stdout
    assert "lr.max: 0.0003 has been trained, the plan now says 0.0002" in stderr


def test_what_has_been_trained_is_not_refused_any_more(tmp_path: Path, lrps: Lrps) -> None:
    write_tokens(tmp_path / "web", [[1] * 40_000])
    file = write(tmp_path, versions=versions(1000, train=[[1.0, "web"]]), max_epochs=3)
    assert lrps("plan", file).code == 78
    campaign = CampaignFolder(tmp_path / "runs/c")
    save(campaign.path("main").checkpoints, 400)
    save(campaign.path("v1").checkpoints, 1000)
    assert "3.2     3.2  3 is passed" in answer(lrps, "plan", file)


def test_plan_names_the_models_size_in_its_own_unit(tmp_path: Path, lrps: Lrps) -> None:
    model = {"num-layers": 4, "hidden-size": 128, "num-attention-heads": 4}
    # 4 x 12 x 128^2 and 9 x 128 of norms, and 4,096 x 128 of embeddings: 1,311,872, each of 12 bytes in fp32
    known = write(tmp_path, megatron=model, tokenizer={"model": "t.model", "train": {"vocab_size": 4000}})
    text = answer(lrps, "plan", known)
    assert "Model of 1.31M parameters; 4 checkpoints to keep (forks and ends), 60.1 MiB\n" in text
    assert "assumed" not in text
    text = answer(lrps, "plan", write(tmp_path, megatron=model, tokenizer={"model": "t.model"}))
    assert "Model of 4.98M parameters" in text
    assert "The tokenizer is not there, so a vocabulary of 32,768 is assumed; tokenizer.vocab_size would say" in text


def test_plan_names_the_command_that_makes_missing_data(tmp_path: Path, lrps: Lrps) -> None:
    listed = versions(1000, train=[[1.0, "data/a"]], valid={"v": "data/v"}, sources={"data/a": "a.jsonl"})
    text = answer(lrps, "plan", write(tmp_path, versions=listed))
    assert f"Not there yet: 2 data indexes ({tmp_path}/data/a, {tmp_path}/data/v); a run needs them." in text
    assert "`lrps prepare` makes 1 of them from the plan's sources." in text
