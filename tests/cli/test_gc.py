"""`lrps gc` from the shell."""

import json
from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import events, write_record
from tests.campaign.checkpoints import save
from tests.conftest import Lrps, heavy_modules
from tests.plan.plans import plan_dict


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """main (0, 1400] at 1200 and v1 (400, 1000] trained, of checkpoints of 4 KiB and a folder of 4 KiB each."""
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(plan_dict(keep={"latest": 1, "every": 1000})))
    save(main(file).checkpoints, 200, 400, 600, 1000, 1200)
    save(v1(file).checkpoints, 800, 1000)
    save(v1(file).checkpoints, 900, whole=False)
    return file


def main(plan: Path) -> PathFolder:
    return CampaignFolder(plan.parent / "runs/c").path("main")


def v1(plan: Path) -> PathFolder:
    return CampaignFolder(plan.parent / "runs/c").path("v1")


def saved(folder: PathFolder) -> list[int]:
    return [*Checkpoints.in_folder(folder.checkpoints).complete]


def test_gc_says_what_it_would_delete_and_why_the_rest_stays(plan: Path, lrps: Lrps) -> None:
    code, stdout, stderr = lrps("gc", plan)
    assert (code, stderr) == (0, "")
    table, _, end = stdout.partition("\n\n")
    rows = [line.split(maxsplit=5) for line in table.splitlines()[2:]]
    assert [(path, iteration, what, why) for path, iteration, _, _, what, why in rows] == [
        ("main", "200", "delete", "nothing needs it"),
        ("main", "400", "keep", "v1 forks off it"),
        ("main", "600", "delete", "nothing needs it"),
        ("main", "1,000", "keep", "every 1000 iterations"),
        ("main", "1,200", "keep", "the newest"),
        ("v1", "800", "delete", "nothing needs it"),
        ("v1", "900", "delete", "torn: its save was cut off"),
        ("v1", "1,000", "keep", "the end of v1; the newest; every 1000 iterations"),
    ]
    assert {unit for _, _, _, unit, _, _ in rows} == {"KiB"}
    first, *lost, last = end.splitlines()
    assert first.startswith("4 of 8 checkpoints to delete, ")
    assert lost == [
        "Without main 200 600: no version can be cut off main there (lrps cut --at).",
        "Without v1 800: v1 cannot go back there.",
    ]
    assert last == f"Nothing is deleted yet; `lrps gc {plan} --yes` deletes them."
    assert saved(main(plan)) == [200, 400, 600, 1000, 1200]
    assert not main(plan).events.exists()


def test_gc_yes_deletes_just_that(plan: Path, lrps: Lrps) -> None:
    before = lrps("gc", plan).stdout.splitlines()
    code, stdout, stderr = lrps("gc", plan, "--yes")
    assert (code, stderr) == (0, "")
    *shown, last = stdout.splitlines()
    assert shown == [*before[:-1], "deleted main 200", "deleted main 600", "deleted v1 800", "deleted v1 900"]
    assert last == f"Freed {before[-4].partition(', ')[2]}"
    assert (saved(main(plan)), saved(v1(plan))) == ([400, 1000, 1200], [1000])
    assert sorted(entry.name for entry in v1(plan).checkpoints.iterdir()) == ["iter_0001000"]
    assert [(event["event"], event["iteration"]) for event in events(main(plan))] == [
        ("deleted", 200),
        ("deleted", 600),
    ]
    again = lrps("gc", plan, "--yes")
    assert again.stdout.endswith("0 of 4 checkpoints to delete, 0.0 KiB.\n")
    write_record(v1(plan), {"parent": "main", "fork": 400, "end": 1000, "released": True})
    assert "deleted" not in lrps("gc", plan, "--yes").stdout
    assert saved(main(plan)) == [400, 1000, 1200]
    plan.write_text(yaml.safe_dump(plan_dict(keep={"latest": 1, "every": 1000, "released_forks": False})))
    stdout = lrps("gc", plan, "--yes").stdout
    assert "Without main 400: v1 cannot be trained anew from its fork point; no version can be cut off main" in stdout
    assert stdout.index("Without main 400") < stdout.index("deleted main 400\n")


def test_a_version_can_be_cut_off_a_released_ones_fork_point_after_gc(plan: Path, lrps: Lrps) -> None:
    write_record(v1(plan), {"parent": "main", "fork": 400, "end": 1000, "released": True})
    assert lrps("gc", plan, "--yes").code == 0
    code, stdout, stderr = lrps("cut", "again", plan, "--iters", "100", "--at", "400")
    assert (code, stderr) == (0, "")
    assert "again forks off main at iteration 400 and ends at 500" in stdout


def test_gc_json_has_its_keys(plan: Path, lrps: Lrps) -> None:
    facts = json.loads(lrps("gc", plan, "--json").stdout)
    assert list(facts) == ["campaign", "save", "dry_run", "freed_bytes", "checkpoints"]
    assert (facts["campaign"], facts["save"], facts["dry_run"]) == ("c", str(plan.parent / "runs/c"), True)
    first = facts["checkpoints"][0]
    assert first == {
        "path": "main",
        "iteration": 200,
        "folder": str(Checkpoint(main(plan).checkpoints, 200).folder),
        "bytes": first["bytes"],
        "keep": False,
        "reason": "nothing needs it",
        "loses": "no version can be cut off main there (lrps cut --at)",
    }
    assert facts["freed_bytes"] == sum(each["bytes"] for each in facts["checkpoints"] if not each["keep"]) > 0
    done = json.loads(lrps("gc", plan, "--json", "--yes").stdout)
    assert done == facts | {"dry_run": False}
    assert saved(main(plan)) == [400, 1000, 1200]


def test_gc_of_nothing(tmp_path: Path, lrps: Lrps) -> None:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan_dict()))
    for args in ((), ("--yes",)):
        assert lrps("gc", "plan.yaml", *args)[:2] == (0, "0 of 0 checkpoints to delete, 0.0 KiB.\n")


@pytest.mark.parametrize("command", [("gc",), ("pin", "main", "200")])
def test_they_load_nothing_heavy(plan: Path, command: tuple[str, ...]) -> None:
    assert heavy_modules(command[0], plan, *command[1:]) == []
