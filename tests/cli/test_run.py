"""What `lrps run` refuses before a rank starts, and what it says of a trained campaign; tests/launch trains."""

from tests.conftest import Lrps
from tests.launch.campaign import TinyCampaign


def test_a_branch_alone_is_refused_before_its_fork_point_exists(campaign: TinyCampaign, lrps: Lrps) -> None:
    code, _, stderr = lrps("run", campaign.plan, "--path", "v1")
    assert code == 78
    assert "path v1: The fork point at iteration 4 is not in" in stderr
    assert "Fix: train the parent path up to it first." in stderr


def test_missing_data_are_refused_before_anything_is_trained(campaign: TinyCampaign, lrps: Lrps) -> None:
    (campaign.plan.parent / "data1.idx").unlink()
    code, _, stderr = lrps("run", campaign.plan)
    assert code == 78
    assert "versions.v1.train:" in stderr
    assert not campaign.folder("main").root.exists()


def test_a_changed_past_is_refused(campaign: TinyCampaign, lrps: Lrps) -> None:
    for path, iteration in (("main", 4), ("main", 14), ("v1", 10), ("v2", 20)):
        campaign.save(path, iteration)
    assert lrps("run", campaign.plan).stdout == "All 3 paths of campaign tiny are trained; there is nothing to do.\n"
    campaign.plan.write_text(campaign.plan.read_text().replace("max: 3.0e-4", "max: 2.0e-4"))
    code, _, stderr = lrps("run", campaign.plan)
    assert code == 78
    assert stderr.startswith("lrps: lr.max: ")


def test_a_path_that_is_none_is_refused(campaign: TinyCampaign, lrps: Lrps) -> None:
    code, _, stderr = lrps("run", campaign.plan, "--path", "v9")
    assert code == 78
    assert "choose one of main, v1, v2" in stderr
