"""`lrps run`: a campaign trains on this machine, one path at a time, until it is trained or stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.launch.preflight import nothing_to_do, refuse_unfit, refuse_wrong_flags
from megatron_lrps.launch.untrained import paths_to_train

TRAINING_MODULE = "megatron_lrps.pretrain"


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Trains on this machine while its command runs, so that it leaves no jobs behind.

    Attributes:
        module: The module that the ranks run; it takes ``--lrps-plan``, ``--lrps-path`` and ``--lrps-cpu``.
    """

    module: str = TRAINING_MODULE

    def start(self, campaign: Campaign, only: str | None, say: Callable[[str], None]) -> int:
        """Train all missing paths; returns 0 when they are trained."""
        # Imported here because `lrps status` needs neither rich nor processes.
        from megatron_lrps.launch.ft_launcher import refuse_without_ft_launcher
        from megatron_lrps.launch.local.progress_display import make_display
        from megatron_lrps.launch.local.train import train

        refuse_wrong_flags(campaign, only)
        refuse_without_ft_launcher(campaign.plan)
        accept(campaign)
        paths = paths_to_train(campaign, only)
        if not paths:
            say(nothing_to_do(campaign, only))
            return 0
        refuse_unfit(campaign, paths, campaign.plan.launch.local.processes)
        shown = [campaign.path(only)] if only else campaign.paths
        position = {path.name: standing_of(campaign, path).position for path in shown}
        train(campaign, paths, make_display(shown, position), module=self.module)
        return 0

    def jobs(self, folder: CampaignFolder) -> dict[str, list[dict[str, Any]]] | None:
        """Return None: a path's holder trains it here, and `lrps status` shows holders for every executor."""
        return None

    def cancel(self, campaign: Campaign, only: str | None, say: Callable[[str], None]) -> bool:
        """Return False: Ctrl-C in its own terminal stops `lrps run`."""
        return False
