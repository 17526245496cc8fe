"""The weights that a path without a parent starts from (``megatron.pretrained-checkpoint``)."""

from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import PlanError
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.flags import PRETRAINED


def refuse_missing_weights(campaign: Campaign, path: PlannedPath) -> None:
    """Refuse weights that are not there while the path still starts from them; raises PlanError."""
    weights = campaign.plan.megatron.get(PRETRAINED)
    if weights is None or path.parent is not None or standing_of(campaign, path).saved:
        return
    folder = Path(str(weights))
    if not folder.is_dir():
        raise PlanError(
            f"megatron.{PRETRAINED}: {folder} is no folder.", "name a folder of checkpoints, or make it by lrps import."
        )
