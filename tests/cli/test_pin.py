"""`lrps pin` from the shell, and what gc makes of it."""

from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.folders import CampaignFolder
from tests.campaign.checkpoints import save
from tests.cli.test_gc import main, plan, saved, v1
from tests.conftest import Lrps
from tests.plan.plans import plan_dict

__all__ = ["plan"]  # a fixture


def test_a_pin_protects_until_it_is_removed(plan: Path, lrps: Lrps) -> None:
    assert lrps("pin", plan, "main", "200", "--note", "for the paper")[:2] == (0, "pinned main 200\n")
    assert "keep    pinned: for the paper\n" in lrps("gc", plan, "--yes").stdout
    assert saved(main(plan)) == [200, 400, 1000, 1200]
    assert lrps("pin", plan, "main", "200", "--remove")[:2] == (0, "unpinned main 200\n")
    assert "deleted main 200\n" in lrps("gc", plan, "--yes").stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("main", "300"), ["Checkpoint 300 of main does not exist", "200, 400, 600, 1000, 1200", "Fix: pin one of"]),
        (("v1", "900"), ["Checkpoint 900 of v1 is not whole", "800, 1000"]),
        (("v9", "200"), ["path 'v9' is not in campaign c", "choose one of main, v1, v2"]),
        (("../main", "200"), ["path '../main' is not in campaign c"]),
        (("main", "200", "--remove"), ["Checkpoint 200 of main is not pinned; none are"]),
    ],
)
def test_a_pin_that_cannot_be_is_refused(plan: Path, lrps: Lrps, args: tuple[str, ...], words: list[str]) -> None:
    code, stdout, stderr = lrps("pin", plan, *args)
    assert (code, stdout) == (78, "")
    assert [word for word in words if word not in stderr] == []
    assert stderr.count("\n") == 1
    assert not list((plan.parent / "runs").rglob("pins.json"))


def test_torn_pins_stop_gc_before_anything_is_deleted(plan: Path, lrps: Lrps) -> None:
    assert lrps("pin", plan, "v1", "800").code == 0
    pins = v1(plan).root / "pins.json"
    pins.write_text(pins.read_text()[:-5])
    code, stdout, stderr = lrps("gc", plan, "--yes")
    assert (code, stdout) == (78, "")
    assert stderr.startswith(f"lrps: {pins} cannot be read as pins, so which checkpoints are pinned is unknown. Fix: ")
    assert saved(main(plan)) == [200, 400, 600, 1000, 1200]


def test_a_path_of_the_accepted_plan_alone_can_be_pinned_too(plan: Path, lrps: Lrps) -> None:
    campaign = CampaignFolder(plan.parent / "runs/c")
    campaign.plan.write_text(yaml.safe_dump(plan_dict(save=str(campaign.root), paradigm=["lrps", "cpt"])))
    save(campaign.path("cpt-v1").checkpoints, 100, 200)
    assert lrps("pin", plan, "cpt-v1", "100").code == 0
    assert "deleted cpt-v1" not in lrps("gc", plan, "--yes").stdout
