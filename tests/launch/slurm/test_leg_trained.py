"""The judgement that a job's script asks for once its ranks have failed."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.record import log_event
from megatron_lrps.launch.slurm.leg_trained import main
from tests.launch.campaign import TinyCampaign, campaign

__all__ = ["campaign"]  # a fixture


def judged(campaign: TinyCampaign, until: int, line: int = 0) -> int:
    return main([str(campaign.plan), "main", str(until), str(line)])


def test_a_leg_and_a_path_are_judged_by_their_ends(campaign: TinyCampaign, capsys: pytest.CaptureFixture[str]) -> None:
    assert (judged(campaign, 4), judged(campaign, 0)) == (1, 1)
    campaign.save("main", 4)
    assert (judged(campaign, 4), judged(campaign, 0)) == (0, 1)
    campaign.save("main", 14)
    assert (judged(campaign, 4), judged(campaign, 0)) == (0, 0)
    assert capsys.readouterr().out.splitlines() == [
        f"lrps: main is trained to iteration {end}, and its checkpoint there whole" for end in (4, 4, 14)
    ]


def test_only_this_start_may_have_found_damage(campaign: TinyCampaign) -> None:
    campaign.save("main", 14)
    log_event(campaign.folder("main"), "skipped", iteration=14)
    assert (judged(campaign, 0, line=0), judged(campaign, 0, line=1)) == (1, 0)


def test_what_cannot_be_judged_is_not_trained(
    campaign: TinyCampaign, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(campaign.plan), "v9", "0", "0"]) == 1
    assert main([str(tmp_path / "none.yaml"), "main", "0", "0"]) == 1
    assert capsys.readouterr().err.count("lrps: ") == 2
