"""The campaign that several commands look at."""

import pytest

from megatron_lrps.campaign.record import log_event
from tests.launch.campaign import TinyCampaign, campaign

__all__ = ["campaign"]  # a fixture


@pytest.fixture
def begun(campaign: TinyCampaign) -> TinyCampaign:
    """main at 10 of 14, v1 trained, v2 waiting for main at 14."""
    campaign.save("main", 4)
    campaign.save("main", 10)
    campaign.save("main", 12, torn=True)
    campaign.save("v1", 10)
    log_event(campaign.folder("main"), "started", iteration=0)
    log_event(campaign.folder("v1"), "done", iteration=10)
    return campaign
