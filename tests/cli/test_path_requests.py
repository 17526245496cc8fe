"""How long `lrps stop` and `lrps save` wait for a job."""

from megatron_lrps.campaign.record import log_event
from megatron_lrps.cli.path_requests import patience
from tests.launch.campaign import TinyCampaign, campaign

__all__ = ["campaign"]  # a fixture


def test_a_stop_is_not_given_up_before_the_time_is_over_in_which_ranks_may_stop(campaign: TinyCampaign) -> None:
    main = campaign.folder("main")
    main.root.mkdir(parents=True)
    assert patience(campaign.campaign, main, "save") == patience(campaign.campaign, main, "stop") == 1800
    log_event(main, "saved", iteration=5, seconds=900.0)
    assert patience(campaign.campaign, main, "stop") == 2 * 900 + 300 + 120
    assert patience(campaign.campaign, main, "save") == 1800
    campaign.plan.write_text(campaign.plan.read_text().replace("processes: 2", "processes: 2, stop_timeout: 4000"))
    assert patience(campaign.campaign, main, "stop") == 4000 + 120
