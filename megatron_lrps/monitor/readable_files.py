"""A path's logs and results, as far as they can be read; a file that cannot be read is left out and named in a note."""

from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.scores import read_results, scores_folder
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.printed_figures import Printed, read_printed


def printed_of(campaign: CampaignFolder, path: str, notes: list[str]) -> Printed:
    """Return the figures in the logs of a path; none if a log cannot be read, which adds a note."""
    try:
        return read_printed(campaign.path(path).logs)
    except OSError as error:
        notes.append(f"The logs of {path} are left out: {error.filename} cannot be read: {error.strerror}.")
        return Printed()


def results_of(campaign: CampaignFolder, path: str, notes: list[str]) -> dict[str, Any] | None:
    """Return the ``results.json`` of a path; None if it has none, or if it cannot be read, which adds a note."""
    file = scores_folder(campaign, path) / "results.json"
    try:
        found = read_results(campaign, path)
    except RefusedError as error:  # a newer lrps has written it
        notes.append(error.what)
        return None
    if found is None and file.exists():
        notes.append(f"{file} cannot be read: it is torn, or lrps has not written it.")
    return found
