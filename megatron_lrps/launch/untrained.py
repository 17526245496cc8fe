"""What of a campaign is still to be trained, and from which checkpoints."""

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import state_of
from megatron_lrps.campaign.start_point import Start, find_start
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree


def unfinished(tree: Tree, only: str | None) -> list[PlannedPath]:
    """Paths that are not trained to their end, parents first; of one path's name, that one at most.

    Raises:
        RefusedError: where a path's fork point is lost (or, for ``only``, is not there yet).
    """
    campaign = CampaignFolder(tree.plan.folder)
    paths = [tree.path(only)] if only else tree.paths
    missing = [path for path in paths if not state_of(campaign, path).done]
    for path in missing:
        if path.adopted is not None:
            start_of(campaign, path)
        if path.parent is None or state_of(campaign, path).ready:
            continue
        parent = state_of(campaign, tree.path(path.parent))
        # Training everything else first would only delay the news: a parent past the fork does not save it again.
        if only or parent.done or (parent.saved or 0) > path.fork:
            start_of(campaign, path)
    return missing


def start_of(campaign: CampaignFolder, path: PlannedPath) -> Start:
    """The checkpoint that a path starts from; raises RefusedError where its fork point is missing."""
    own = campaign.path(path.name).checkpoints
    try:
        return find_start(
            own, parent=campaign.origin(path), fork=path.fork, end=path.end, adopted=path.adopted is not None
        )
    except RefusedError as error:
        if path.adopted is not None:
            raise  # it names the plan's key
        raise RefusedError(f"path {path.name}: {error.what}", error.fix) from None
