"""What is known of a path: its record, else the plan; nothing on disk is trusted."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign import campaign as planned
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.lineage import Link, chain_of, checkpoints_of, facts_of, ledger_of, resolve, schedule_words
from megatron_lrps.campaign.manifest import MANIFEST, read_manifest, take_hashes, take_sizes
from megatron_lrps.campaign.record import log_event, read_record, write_record
from megatron_lrps.campaign.record_values import CHECKS
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree, expand, parse_plan
from tests.campaign.checkpoints import save
from tests.campaign.records import plan_with_data, save_hashed, write_path

PLANNED = {"layout", "libraries", "plan_hash", "consumed_samples", "checkpoints", "status"}
"""What no plan knows."""


class Campaign:
    """main (0, 1400], v1 (400, 1000] and v2 (1400, 2000]; or other paths."""

    def __init__(self, root: Path, **keys: Any) -> None:
        self.tree: Tree = expand(parse_plan(yaml.safe_dump(plan_with_data(**keys)), base=root))
        self.campaign = planned.Campaign(self.tree)
        self.folder = self.campaign.folder

    def __getitem__(self, name: str) -> PathFolder:
        return self.folder.path(name)

    def facts(self, name: str) -> Any:
        return facts_of(self.campaign, name)

    def chain(self, name: str) -> list[tuple[str, int | None, int | None]]:
        links = chain_of(self.campaign, self.facts(name))
        assert all(isinstance(link, Link) for link in links)
        return [(link.path, link.start, link.until) for link in links]


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def test_every_key_that_is_written_is_read(campaign: Campaign) -> None:
    save(campaign["v1"].checkpoints, 1000)
    write_path(campaign.tree, "v1")
    record = read_record(campaign["v1"])
    assert record is not None
    assert set(record) == {"record_version", *CHECKS}
    facts = campaign.facts("v1")
    assert (facts.record, facts.notes) == ("read", ())
    assert facts.values == {key: record[key] for key in CHECKS}


def test_the_plans_word_before_a_path_has_started(campaign: Campaign) -> None:
    facts = campaign.facts("v1")
    assert facts.record == "not_started"
    assert facts.notes == ("v1 has not started; this is what the plan says.",)
    assert set(facts.values) == set(CHECKS) - PLANNED
    log_event(campaign["v1"], "refused", message="no fork point")
    assert campaign.facts("v1") == facts
    write_path(campaign.tree, "v1")
    read = campaign.facts("v1").values
    same = set(facts.values) - {"data"}
    assert {key: read[key] for key in same} == {key: facts.values[key] for key in same}


@pytest.mark.parametrize("begun", ["event", "checkpoint"])
def test_a_record_that_is_missing(campaign: Campaign, begun: str) -> None:
    if begun == "event":
        log_event(campaign["v1"], "started", iteration=400)
    else:
        save(campaign["v1"].checkpoints, 600)
    facts = campaign.facts("v1")
    assert facts.record == "missing"
    assert facts.notes[0].startswith(f"{campaign['v1'].record} is missing, though the path has been started; ")


@pytest.mark.parametrize("text", ["", "{torn", "[]", "{}", '{"record_version": "1"}', '{"record_version": true}'])
def test_a_torn_record(campaign: Campaign, text: str) -> None:
    campaign["v1"].root.mkdir(parents=True)
    campaign["v1"].record.write_text(text)
    facts = campaign.facts("v1")
    assert (facts.record, facts.values["fork"]) == ("torn", 400)
    assert facts.notes[0].startswith(f"{campaign['v1'].record} cannot be read: it is torn, or not as lrps writes it; ")


def test_a_path_of_no_plan(campaign: Campaign) -> None:
    save(campaign["v9"].checkpoints, 700)
    facts = campaign.facts("v9")
    assert (facts.record, facts.values) == ("missing", {})
    assert facts.notes[0].endswith("no plan names this path.")
    assert chain_of(campaign.campaign, facts) == [Link(path="v9", start=None, until=None)]
    assert [saved.iteration for saved in checkpoints_of(campaign["v9"], facts)] == [700]


def test_another_paths_record_is_named(campaign: Campaign) -> None:
    write_path(campaign.tree, "v2")
    campaign["v1"].root.mkdir()
    campaign["v2"].record.rename(campaign["v1"].record)
    assert campaign.facts("v1").notes == (f"{campaign['v1'].record} is of path 'v2', and lies where 'v1' belongs.",)


BAD: list[tuple[str, Any]] = [
    ("fork", True),
    ("fork", -1),
    ("end", "1000"),
    ("end", 10**18),
    ("parent", "../../etc"),
    ("parent", 7),
    ("global_batch_size", 0),
    ("lr", {"max": 3.0e-4}),
    ("lr", {"max": float("nan"), "min": 0.0}),
    ("lr", {"max": 10**400, "min": 0.0}),
    ("schedule", []),
    ("schedule", [{"kind": "hold"}]),
    ("schedule", [{"kind": "decay", "start": 0, "end": 8, "shape": ["cosine"]}]),
    ("schedule", {"kind": "hold", "start": 0, "end": None}),
    ("data", {"windows": [], "order": "chained"}),
    (
        "data",
        {"windows": [{"version": "v1", "iterations": 10, "data": [[1.0, "web"]]}], "tokenizer": "t", "order": "c"},
    ),
    ("layout", {"tensor": [1]}),
    ("libraries", ["torch"]),
    ("checkpoints", [600]),
    ("plan_hash", None),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_value_of_another_type_is_left_out_and_named(campaign: Campaign, key: str, value: Any) -> None:
    write_path(campaign.tree, "v1")
    record = read_record(campaign["v1"])
    assert record is not None
    write_record(campaign["v1"], record | {key: value})
    facts = campaign.facts("v1")
    assert facts.notes == (f"Missing in {campaign['v1'].record}, or not as lrps writes it: {key}.",)
    assert set(facts.values) == set(CHECKS) - {key}


def test_what_comes_later_is_plain_json(campaign: Campaign) -> None:
    write_path(campaign.tree, "v1")
    record = read_record(campaign["v1"])
    assert record is not None
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    write_record(campaign["v1"], record | {"scores": {"web": float("nan"), "code": 12.5, "deep": deep}})
    scores = campaign.facts("v1").values["scores"]
    assert (scores["web"], scores["code"]) == (None, 12.5)
    assert json.dumps(scores["deep"]) == '[[[[[[["..."]]]]]]]'


def test_the_chain_begins_at_the_root(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, paradigm=["lrps", "cpt"])
    assert campaign.chain("main") == [("main", 0, 1400)]
    assert campaign.chain("v1") == [("main", 0, 400), ("v1", 400, 1000)]
    assert campaign.chain("cpt-v2") == [("cpt-v1", 0, 1000), ("cpt-v2", 1000, 2000)]
    # What was trained counts, not what the plan has become.
    write_path(Campaign(tmp_path, paradigm=["lrps", "cpt"], decay={"alpha": 0.4}).tree, "v1")
    assert campaign.chain("v1") == [("main", 0, 600), ("v1", 600, 1000)]


def test_the_chain_begins_at_an_adopted_run(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, main={"adopt": "stock", "iteration": 100})
    assert campaign.chain("v1") == [("main", 100, 500), ("v1", 500, 1100)]
    root, v1 = chain_of(campaign.campaign, campaign.facts("v1"))
    assert (root.adopted, v1.adopted) == (str(tmp_path / "stock"), None)
    read = ledger_of(campaign.campaign, campaign.facts("v1"), [root, v1])
    assert [(stretch.version, stretch.start, stretch.until) for stretch in read] == [
        ("v1", 100, 500),
        ("v1", 500, 1100),
    ]
    write_path(campaign.tree, "main")
    facts = campaign.facts("main")
    assert (facts.notes, facts.values["adopted"]["iteration"]) == ((), 100)
    record = read_record(campaign["main"]) or {}
    write_record(campaign["main"], record | {"adopted": {"folder": 7}})
    assert "adopted" in campaign.facts("main").notes[0]


def test_a_chain_that_bites_its_tail_ends(campaign: Campaign) -> None:
    write_record(campaign["main"], {"parent": "v1", "fork": 700})
    write_record(campaign["v1"], {"parent": "main", "fork": 400, "end": 1000})
    assert campaign.chain("v1") == [("v1", None, 700), ("main", 700, 400), ("v1", 400, 1000)]
    write_record(campaign["v1"], {"parent": "gone", "fork": 400, "end": 1000})
    assert campaign.chain("v1") == [("gone", None, 400), ("v1", 400, 1000)]


def test_checkpoints_are_compared_with_the_record(campaign: Campaign) -> None:
    folder = campaign["v1"].checkpoints
    save_hashed(folder, 500, 600, 700)
    write_path(campaign.tree, "v1", status="training")
    recorded = {each.iteration: each.sha256 for each in checkpoints_of(campaign["v1"], campaign.facts("v1"))}
    Checkpoint(folder, 500).folder.rename(folder / "elsewhere")
    (Checkpoint(folder, 600).folder / "common.pt").write_text("saved anew")
    take_hashes(Checkpoint(folder, 600).folder, take_sizes(Checkpoint(folder, 600).folder))
    save_hashed(folder, 800)
    save(folder, 900)
    save(folder, 1000, whole=False)
    found = checkpoints_of(campaign["v1"], campaign.facts("v1"))
    manifests = {each: read_manifest(Checkpoint(folder, each).folder) for each in (600, 700, 800)}
    now = {iteration: manifest.digest for iteration, manifest in manifests.items() if manifest}
    assert [(each.iteration, each.state, each.sha256, each.recorded) for each in found] == [
        (500, "gone", None, recorded[500]),
        (600, "changed", now[600], recorded[600]),
        (700, "present", now[700], recorded[700]),
        (800, "present", now[800], None),
        (900, "present", None, None),  # stock Megatron's
    ]
    assert now[700] == recorded[700]


def test_a_manifest_of_no_text_has_no_hash(campaign: Campaign) -> None:
    save_hashed(campaign["v1"].checkpoints, 600)
    manifest = Checkpoint(campaign["v1"].checkpoints, 600).folder / MANIFEST
    files = json.dumps({"\ud800": {"bytes": 1, "sha256": "\ud800"}})
    head = json.dumps({"format": 1, "sha256": hashlib.sha256(files.encode()).hexdigest()})
    manifest.write_text(f"{head}\n{files}\n")
    (saved,) = checkpoints_of(campaign["v1"], campaign.facts("v1"))
    assert (saved.sha256, saved.state) == (None, "present")


def test_a_version_is_found_by_its_name_or_its_paths(tmp_path: Path) -> None:
    both = Campaign(tmp_path, paradigm=["ptfs", "cpt"])
    with pytest.raises(RefusedError, match=r"Version v1 is the end of several paths: ptfs-v1, cpt-v1\. Fix: name one"):
        resolve(both.campaign, "v1")
    one = Campaign(tmp_path, paradigm="ptfs")
    assert resolve(one.campaign, "v1") == "ptfs-v1"
    assert resolve(planned.Campaign(one.tree, both.tree), "cpt-v1") == "cpt-v1"
    with pytest.raises(RefusedError, match=r"path 'v9' is not in campaign c\. Fix: choose one of ptfs-v1, ptfs-v2"):
        resolve(one.campaign, "v9")
    one["v9"].root.mkdir(parents=True)
    assert resolve(one.campaign, "v9") == "v9"
    for name in ("..", "../..", ""):
        with pytest.raises(RefusedError):
            resolve(one.campaign, name)


@pytest.mark.parametrize(
    ("decay", "words"),
    [
        ({"shape": "cosine"}, ["hold at 0.0003 (20, 400]", "cosine from 0.0003 to 3e-05 (400, 1,000]"]),
        (
            {"shape": "multi-step"},
            ["hold at 0.0003 (20, 400]", "step to 9.48e-05 (400, 700]", "step to 3e-05 (700, 1,000]"],
        ),
    ],
)
def test_schedules_in_words(tmp_path: Path, decay: dict[str, Any], words: list[str]) -> None:
    lr = {"max": 3.0e-4, "min": 3.0e-5, "warmup_iters": 20}
    campaign = Campaign(tmp_path, lr=lr, decay=decay)
    values = dict(campaign.facts("v1").values)
    assert schedule_words(values) == ["warm-up to 0.0003 (0, 20]", *words]
    assert schedule_words(campaign.facts("main").values) == ["warm-up to 0.0003 (0, 20]", "hold at 0.0003 (20, 1,400]"]
    main = campaign.facts("main").values
    assert schedule_words(main, 400) == ["warm-up to 0.0003 (0, 20]", "hold at 0.0003 (20, 400]"]
    assert schedule_words(values, 1000) == schedule_words(values)
    del values["lr"], values["global_batch_size"]
    assert schedule_words(values)[:2] == ["warm-up to max (0, 160]", "hold at max (160, 3,200]"]
    del values["schedule"]
    assert schedule_words(values) == []
