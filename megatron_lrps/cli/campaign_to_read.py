"""Opens a campaign for a command that only reads it: also by its accepted plan, and on a disk that may fail."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import RefusedError, StorageError


@contextlib.contextmanager
def open_to_read(plan_file: Path) -> Iterator[tuple[Campaign, tuple[str, ...]]]:
    """Yield a plan's campaign with its accepted plan, and a note if that is damaged; raises StorageError."""
    campaign, notes = Campaign.open(plan_file), tuple[str, ...]()
    try:
        try:
            campaign = campaign.with_accepted()
        except RefusedError as error:
            notes = (error.what,)
        yield campaign, notes
    except BrokenPipeError:  # of the output, `lrps show PLAN v1 | head`
        raise
    except OSError as error:
        what = f"{error.filename or campaign.folder.root} could not be read: {error.strerror or error}."
        raise StorageError(what, "make it readable, then run the same command again.") from None
