"""`lrps show` from the shell, and what `lrps diff` has in common with it."""

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.manifest import read_manifest
from megatron_lrps.campaign.record import RECORD_VERSION, log_event, read_record, write_record
from megatron_lrps.cli.diff import diff
from megatron_lrps.cli.show import show
from megatron_lrps.errors import EXIT_REFUSED, StorageError
from megatron_lrps.plan import Tree, expand, load_plan, plan_hash
from megatron_lrps.storage.ownership import acquire
from tests.campaign.records import digest, plan_with_data, save_hashed, write_path
from tests.conftest import Lrps


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """main (0, 1400] at 400, v1 (400, 1000] trained, v2 (1400, 2000] not started."""
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(plan_with_data(), sort_keys=False))
    accept(Campaign(tree(file)))
    save_hashed(path(file, "main").checkpoints, 400)
    write_path(tree(file), "main", status="training")
    save_hashed(path(file, "v1").checkpoints, 600, 1000)
    write_path(tree(file), "v1")
    log_event(path(file, "v1"), "started", iteration=400, forked=True, checkpoint="main")
    log_event(path(file, "v1"), "saved", iteration=600)
    log_event(path(file, "v1"), "stopped", reason="signal", iteration=600, exit_code=75)
    log_event(path(file, "v1"), "started", iteration=600, forked=False, checkpoint="v1")
    log_event(path(file, "v1"), "done", iteration=1000)
    return file


def tree(plan: Path) -> Tree:
    return expand(load_plan(plan))


def path(plan: Path, name: str) -> PathFolder:
    return CampaignFolder(tree(plan).plan.folder).path(name)


def sha(plan: Path, name: str, iteration: int) -> str:
    manifest = read_manifest(path(plan, name).checkpoints / f"iter_{iteration:07}")
    assert manifest is not None
    assert manifest.digest is not None
    return manifest.digest


def change(plan: Path, name: str, **keys: object) -> None:
    record = read_record(path(plan, name))
    assert record is not None
    write_record(path(plan, name), record | keys)


def rows(stdout: str) -> dict[str, list[str]]:
    """The rows of `lrps show`: name -> its lines."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in stdout.split("\n\n")[1].splitlines():
        name = line[:13].strip() or name
        found.setdefault(name, []).append(line[15:])
    return found


def test_show_says_what_made_a_version(plan: Path, lrps: Lrps) -> None:
    code, stdout, stderr = lrps("show", plan, "v1")
    assert (code, stderr) == (0, "")
    assert stdout.splitlines()[0] == f"v1  campaign c  {path(plan, 'v1').root}"
    found = rows(stdout)
    data = plan.parent / "data"
    assert found.pop("libraries")[0].startswith("megatron-lrps ")
    assert found == {
        "made by": ["main at fork 400 -> v1"],
        "kind": ["branch, lrps"],
        "version": ["v1"],
        "iterations": ["(400, 1,000]"],
        "status": ["trained"],
        "consumed": ["8,000 samples when path.json was written"],
        "learning rate": ["hold at 0.0003 (0, 400]", "cosine from 0.0003 to 3e-05 (400, 1,000]"],
        "batch": ["8 samples x 16 tokens"],
        "data": [
            "v1, 1,000 iterations, chained",
            f"  0.7  {data}/web  idx {digest('web')[:12]}, bin {digest('bin')[:12]} of 4,096 bytes, 1,024 tokens",
            f"  0.3  {data}/code  idx {digest('code')[:12]}, bin {digest('bin')[:12]} of 4,096 bytes, 1,024 tokens",
        ],
        "tokenizer": [digest("tokenizer")[:12]],
        "layout": ["tensor 1, pipeline 1, data 2, distributed_optimizer false"],
        "plan": [f"{plan_hash(tree(plan).plan)[:12]}, still the accepted one"],
        "checkpoints": [f"600  {sha(plan, 'v1', 600)[:12]}", f"1,000  {sha(plan, 'v1', 1000)[:12]}"],
        "trained now": ["by nobody"],
        "has read": ["v1 by main in (0, 400], 3,200 samples", "v1 by v1 in (400, 1,000], 4,800 samples"],
    }
    # 8,000 samples of 16 tokens, 0.7 and 0.3 of them, from 1,024 tokens each
    assert stdout.split("\n\n")[2].splitlines()[2:] == [
        f"v1       {data}/web     5,600                  -    87.5",
        f"v1       {data}/code    2,400                  -    37.5",
    ]
    history = [line.split("  ", 1) for line in stdout.split("\n\n")[3].splitlines()]
    assert [what for _, what in history] == [
        "forked at 400",
        "stopped at 600: signal",
        "resumed at 600",
        "done at 1,000",
    ]
    assert all(time.endswith("+00:00") for time, _ in history)


def test_show_json_has_its_keys(plan: Path, lrps: Lrps) -> None:
    change(plan, "v1", released="2026-11-24", scores={"web": 12.5})
    facts = json.loads(lrps("show", plan, "v1", "--json").stdout)
    record = read_record(path(plan, "v1"))
    assert record is not None
    assert list(facts) == [
        *("campaign", "save", "path", "record", "notes", "chain", "kind", "paradigm", "version", "parent", "fork"),
        *("end", "status", "consumed_samples", "schedule", "lr", "global_batch_size", "sequence_length", "data"),
        *("layout", "libraries", "plan_hash", "ledger", "accepted_plan_hash", "checkpoints", "scores", "released"),
        *("holder", "history"),
    ]
    own = {"checkpoints", "record", "notes", "chain", "save", "ledger", "accepted_plan_hash", "holder", "history"}
    assert {key: facts[key] for key in facts if key not in own} == {
        key: record[key] for key in record if key not in {"record_version", "checkpoints"}
    }
    assert (facts["record"], facts["notes"], facts["holder"]) == ("read", [], None)
    assert facts["chain"] == [
        {"path": "main", "start": 0, "until": 400, "adopted": None},
        {"path": "v1", "start": 400, "until": 1000, "adopted": None},
    ]
    assert facts["ledger"]["planned"] is False
    assert facts["ledger"]["ranges"][1] | {"drawn": []} == {
        **{"path": "v1", "version": "v1", "order": "chained", "start": 400, "until": 1000, "samples": 4800},
        "drawn": [],
    }
    web = str(plan.parent / "data/web")
    assert facts["ledger"]["ranges"][1]["drawn"][0] == {
        **{"version": "v1", "prefix": web, "replayed": False, "samples": 3360, "epochs": 52.5},
        "known": facts["data"]["windows"][0]["data"][0][2],
    }
    assert facts["ledger"]["data"][0] == {
        **{"version": "v1", "prefix": web, "samples": 5600, "replayed": 0, "epochs": 87.5},
        "known": facts["data"]["windows"][0]["data"][0][2],
    }
    assert facts["accepted_plan_hash"] == facts["plan_hash"]
    whole = sha(plan, "v1", 1000)
    assert facts["checkpoints"][1] == {"iteration": 1000, "sha256": whole, "recorded": whole, "state": "present"}
    first = facts["history"][0]
    time = first["time"]
    assert first == {
        "time": time,
        "last_time": time,
        "times": 1,
        "event": "forked",
        "iteration": 400,
        "reason": None,
    }


def test_show_of_a_path_that_has_not_started_says_what_is_planned(plan: Path, lrps: Lrps) -> None:
    code, stdout, _ = lrps("show", plan, "v2")
    assert code == 0
    assert stdout.splitlines()[1] == "v2 has not started; this is what the plan says."
    found = rows(stdout)
    assert found["made by"] == ["main at fork 1,400 -> v2"]
    assert found["data"][-1] == f"  1  {plan.parent}/data/news"
    assert not {"status", "consumed", "layout", "libraries", "plan", "tokenizer", "checkpoints"} & set(found)
    facts = json.loads(lrps("show", plan, "v2", "--json").stdout)
    assert (facts["record"], facts["fork"], facts["status"], facts["checkpoints"]) == ("not_started", 1400, None, [])


def test_show_says_what_is_replayed_and_what_is_only_planned(plan: Path, lrps: Lrps) -> None:
    grown = plan_with_data()
    grown["versions"][1]["replay"] = 0.25
    plan.write_text(yaml.safe_dump(grown))
    found = rows(lrps("show", plan, "v2").stdout)
    assert found["data"][-1] == "  0.25  replayed: samples 2,000 of v1"
    assert found["reads by plan"] == [
        "v1 by main in (0, 1,000], 8,000 samples",
        "v2 by main in (1,000, 1,400], 3,200 samples",
        "v2 by v2 in (1,400, 2,000], 4,800 samples",
    ]
    ledger = json.loads(lrps("show", plan, "v2", "--json").stdout)["ledger"]
    assert ledger["planned"] is True
    # main is recorded, v2 is not: 0.7 of 8,000 and of the 2,000 that are replayed
    web, code, news = ledger["data"]
    assert (web["version"], web["samples"], web["replayed"], web["epochs"]) == ("v1", 7000, 1400, None)
    assert (code["samples"], code["replayed"]) == (3000, 600)
    assert (news["version"], news["samples"], news["replayed"]) == ("v2", 6000, 0)


def test_show_of_an_unfinished_path_says_what_it_has_read(plan: Path, lrps: Lrps) -> None:
    change(plan, "v1", status="training", consumed_samples=4800)
    assert rows(lrps("show", plan, "v1").stdout)["has read"][-1] == "v1 by v1 in (400, 600], 1,600 samples"


def test_show_tells_a_grown_plan_gone_checkpoints_and_who_trains(plan: Path, lrps: Lrps) -> None:
    grown = plan_with_data()
    grown["versions"].append({"name": "v3", "iters": 1000})
    plan.write_text(yaml.safe_dump(grown))
    accept(Campaign(tree(plan)))
    recorded = sha(plan, "main", 400)
    (path(plan, "main").checkpoints / "iter_0000400").rename(plan.parent / "away")
    with acquire(path(plan, "main").root, say=print):
        stdout = lrps("show", plan, "main").stdout
        holder = json.loads(lrps("show", plan, "main", "--json").stdout)["holder"]
    found = rows(stdout)
    assert found["made by"] == ["main, from scratch"]
    assert found["plan"][0].endswith(f", the accepted one is now {plan_hash(tree(plan).plan)[:12]}")
    assert found["checkpoints"] == [f"400  {recorded[:12]}, gone since path.json was written"]
    assert found["trained now"][0].startswith("by process ")
    assert list(holder) == ["host", "pid", "job", "restart", "since"]


def test_show_trusts_nothing_on_disk(plan: Path, lrps: Lrps) -> None:
    folder = path(plan, "v1")
    change(plan, "v1", fork="400", kind="a\x1b[31mred", scores={"\x1b[2J": "\ud800"})
    code, stdout, stderr = lrps("show", plan, "v1")
    assert (code, stderr) == (0, "")
    assert f"Missing in {folder.record}, or not as lrps writes it: fork." in stdout
    assert rows(stdout)["made by"] == ["main at fork ? -> v1"]
    assert rows(stdout)["kind"] == [r"'a\x1b[31mred', lrps"]
    assert rows(stdout)["scores"] == [r"'\x1b[2J' '\ud800'"]
    folder.record.write_text("{torn")
    with folder.events.open("ab") as file:
        file.write(b'\xff\n{"event": "refused", "message": "a\\nb", "time": 7}\n{"ev')
    code, stdout, stderr = lrps("show", plan, "v1")
    assert (code, stderr) == (0, "")
    assert (
        f"{folder.record} cannot be read: it is torn, or not as lrps writes it; this is what the plan says." in stdout
    )
    assert stdout.endswith("-  'refused: a\\nb'\n")
    folder.record.unlink()
    assert f"{folder.record} is missing, though the path has been started" in lrps("show", plan, "v1").stdout
    (plan.parent / "runs/c/plan.yaml").write_text("campaign: [")
    code, stdout, _ = lrps("show", plan, "v1")
    assert code == 0
    assert "The accepted plan " in stdout


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a record, the innermost too, as the keys that lead to it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([place] if place else []), *(deep for key, each in inside for deep in places(each, (*place, key)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**4000, "\ud800", "\x1b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_in_a_record_breaks_anything(plan: Path, data: st.DataObject) -> None:
    file = path(plan, "v1").record
    whole = plan.with_name("whole.json")  # of the first example
    if not whole.exists():
        change(plan, "v1", scores={"web": {"perplexity": 12.5}}, released=True)
        whole.write_text(file.read_text())
    record = json.loads(whole.read_text())
    place = data.draw(st.sampled_from([each for each in places(record) if each != ("record_version",)]))
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(JSON)
    if isinstance(record.get("data"), dict):
        record["data"]["later"] = data.draw(JSON)
    file.write_text(json.dumps(record))
    for as_json in (False, True):
        for command, names in ((show, ["v1"]), (diff, ["v1", "main"])):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                command(plan, *names, as_json=as_json)  # type: ignore[operator]
            assert out.getvalue().encode()  # lone surrogates have no bytes
            assert "\x1b" not in out.getvalue()
            if as_json:
                json.loads(out.getvalue(), parse_constant=pytest.fail)  # nan is no JSON


def test_a_merge_has_read_what_main_has_and_its_scores_are_in_lines(plan: Path, lrps: Lrps) -> None:
    plan.write_text(plan.read_text() + "merge: {window: 0.2, checkpoints: 4}\n")
    code, stdout, stderr = lrps("show", plan, "v2")
    assert code == 0, stderr
    assert rows(stdout)["reads by plan"] == [
        "v1 by main in (0, 1,000], 8,000 samples",
        "v2 by main in (1,000, 2,000], 8,000 samples",
    ]
    write_path(tree(plan), "v2")
    change(plan, "v2", scores={"web": {"iteration": 2000, "time": "2026", "scores": {"ppl": 74.55354636549045}}})
    code, stdout, stderr = lrps("show", plan, "v2")
    assert rows(stdout)["scores"] == ["web at 2,000: ppl 74.5535"]
    assert rows(stdout)["has read"][-1] == "v2 by main in (1,000, 2,000], 8,000 samples"


@pytest.mark.parametrize("command", [["show", "v1"], ["diff", "v1", "main"], ["show", "main"]])
def test_a_record_of_a_newer_lrps_is_refused(plan: Path, lrps: Lrps, command: list[str]) -> None:
    for name in ("v1", "main"):
        file = path(plan, name).record
        file.write_text(json.dumps({"record_version": RECORD_VERSION + 1, "fork": "somewhere"}))
    code, stdout, stderr = lrps(command[0], plan, *command[1:])
    assert (code, stdout) == (EXIT_REFUSED, "")
    assert f"path.json is of record_version {RECORD_VERSION + 1}, and this lrps reads {RECORD_VERSION}. Fix: " in stderr


def test_an_unknown_version_is_refused(plan: Path, lrps: Lrps) -> None:
    for args in (("show", plan, "v9"), ("diff", plan, "v1", "../v1")):
        code, _, stderr = lrps(*args)
        assert code == EXIT_REFUSED
        assert "choose one of main, v1, v2" in stderr


def test_a_disk_that_does_not_answer_is_told_from_a_reader_that_left(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr("typer.echo", broken)
        with pytest.raises(BrokenPipeError):
            show(plan, "v1")

    def failed(folder: PathFolder) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder.events))

    monkeypatch.setattr("megatron_lrps.cli.show.events", failed)
    with pytest.raises(
        StorageError, match=r"events\.jsonl could not be read: Input/output error\. Fix: make it readable"
    ):
        show(plan, "v1")


def test_neither_loads_torch() -> None:
    modules = "megatron_lrps.cli.show, megatron_lrps.cli.diff, sys"
    code = f"import {modules}; print({{'torch', 'megatron', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
