"""The windows of a plan's timeline: which iterations the new data of each version take."""

from dataclasses import dataclass

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.versions import Version
from megatron_lrps.plan.model import Plan


@dataclass(frozen=True, kw_only=True)
class Window:
    """A version's window of new data: iterations (start, end] of the timeline.

    Attributes:
        version: The version that adds it.
        start: The iteration after which it begins.
        end: Its last iteration.
        adopted: It stands for the iterations of an adopted run (``main.adopt``), whose data are not known. It belongs
            to no version.
    """

    version: Version
    start: int
    end: int
    adopted: bool = False

    @property
    def iterations(self) -> int:
        """Its length in iterations."""
        return self.end - self.start


def iterations_of(plan: Plan, version: Version) -> int:
    """A version's size in iterations. Tokens are rounded down to whole iterations, and samples must fit.

    Raises:
        PlanError: The samples are no multiple of the batch, or the tokens give no iteration.
    """
    batch, sequence = plan.global_batch_size, plan.sequence_length
    key = f"versions.{version.name}"
    if version.iters is not None:
        return version.iters
    if version.samples is not None:
        if version.samples % batch:
            below = version.samples // batch * batch
            raise PlanError(
                f"{key}.samples: {version.samples} is not a multiple of global_batch_size {batch}.",
                f"give {below} or {below + batch}." if below else f"give {batch}.",
            )
        return version.samples // batch
    tokens = version.tokens or 0
    if tokens < batch * sequence:
        raise PlanError(
            f"{key}.tokens: {tokens} is less than one iteration of {batch * sequence} tokens.",
            "give the version more tokens, or lower global_batch_size.",
        )
    return tokens // (batch * sequence)
