"""A campaign by the given plan and by the accepted one: what was trained may be in either."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.lineage import Facts, facts_of, resolve
from megatron_lrps.errors import RefusedError, StorageError


@dataclass(frozen=True)
class BothPlans:
    """A campaign with its accepted plan, if that exists and can be read; ``notes`` says what is wrong with it."""

    campaign: Campaign
    notes: tuple[str, ...]

    def facts(self, wanted: str) -> Facts:
        """What is known of a version or path; raises RefusedError as ``lineage.resolve`` and ``lineage.facts_of``."""
        return facts_of(self.campaign, resolve(self.campaign, wanted))


@contextlib.contextmanager
def open_both_plans(plan_file: Path) -> Iterator[BothPlans]:
    """A plan's campaign; a disk that does not answer while it is read raises StorageError."""
    campaign = Campaign.open(plan_file)
    try:
        try:
            both = BothPlans(campaign.with_accepted(), ())
        except RefusedError as error:
            both = BothPlans(campaign, (error.what,))
        yield both
    except BrokenPipeError:  # of the output, `lrps show PLAN v1 | head`
        raise
    except OSError as error:
        what = f"{error.filename or campaign.folder.root} could not be read: {error.strerror or error}."
        raise StorageError(what, "fix that, then rerun.") from None
