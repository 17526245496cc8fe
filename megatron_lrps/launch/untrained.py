"""The untrained paths of a campaign, and the checkpoints that they start from."""

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import passed, standing_of
from megatron_lrps.campaign.start_point import StartPoint, find_start, refuse_unfit_parts
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
        if not path.begins_after or standing_of(campaign, path).ready:
            continue
        behind = [standing_of(campaign, campaign.path(name)) for name, _ in path.begins_after]
        # Training everything else first would only delay the news: a parent past the fork does not save it again.
        if only or all(each.done for each in behind) or passed(campaign, path):
            start_of(campaign, path)
    return untrained


def start_of(campaign: Campaign, path: PlannedPath) -> StartPoint:
    """Return the checkpoint that a path starts from; raises RefusedError if its fork point is missing."""
    if path.mean:
        refuse_unfit_parts(campaign, path)
        return StartPoint(checkpoint=campaign.folder.parts_of(path)[0], forked=True)
    folder = campaign.folder
    own, parent, adopted = folder.path(path.name).checkpoints, folder.origin(path), path.adopted is not None
    try:
        return find_start(own, parent=parent, fork=path.fork, end=path.end, adopted=adopted)
    except RefusedError as error:
        if adopted:
            raise  # the error names the plan's key
        raise RefusedError(f"path {path.name}: {error.what}", error.fix) from None
