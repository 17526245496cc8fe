"""The untrained paths of a campaign, and the checkpoints that they start from."""

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.campaign.start_point import StartPoint, find_start
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath


def paths_to_train(campaign: Campaign, only: str | None) -> list[PlannedPath]:
    """Return the untrained paths, each of which can start now or after those before it.

    Args:
        campaign: The campaign.
        only: The name of the one path to look at, or None for all.

    Raises:
        RefusedError: the fork point of a path is lost or, if ``only`` names the path, is not saved yet.
    """
    paths = [campaign.path(only)] if only else campaign.paths
    untrained = [path for path in paths if not standing_of(campaign, path).done]
    for path in untrained:
        if path.adopted is not None:
            start_of(campaign, path)
        if path.parent is None or standing_of(campaign, path).ready:
            continue
        parent = standing_of(campaign, campaign.path(path.parent))
        # Training everything else first would only delay the news: a parent past the fork does not save it again.
        if only or parent.done or (parent.saved or 0) > path.fork:
            start_of(campaign, path)
    return untrained


def start_of(campaign: Campaign, path: PlannedPath) -> StartPoint:
    """Return the checkpoint that a path starts from; raises RefusedError if its fork point is missing."""
    folder = campaign.folder
    own, parent, adopted = folder.path(path.name).checkpoints, folder.origin(path), path.adopted is not None
    try:
        return find_start(own, parent=parent, fork=path.fork, end=path.end, adopted=adopted)
    except RefusedError as error:
        if adopted:
            raise  # the error names the plan's key
        raise RefusedError(f"path {path.name}: {error.what}", error.fix) from None
