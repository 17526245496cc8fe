"""The horizontal axis of a picture, which counts iterations, samples or tokens."""

from collections.abc import Callable
from dataclasses import dataclass

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.model import Plan


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis; places on it are iterations, whatever it counts.

    Attributes:
        label: The text under the axis.
        unit: The samples or tokens of an iteration; 1 for iterations.
    """

    label: str
    unit: int

    def text(self, iteration: float) -> str:
        """Return a place on the axis in words: all digits of iterations, three digits of samples and tokens."""
        if self.unit == 1:
            return f"{iteration:,.0f}"
        count = iteration * self.unit
        # A value that rounds to 1,000 of a unit is 1 of the next.
        size, letter = next(((size, letter) for size, letter in _SIZES if count >= 0.9995 * size), (1, ""))
        return f"{count / size:.3g}{letter}"


_SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
ITERATIONS = Axis(label="iteration", unit=1)
_AXES: dict[str, Callable[[Plan], Axis]] = {
    "iterations": lambda plan: ITERATIONS,
    "samples": lambda plan: Axis(label="samples", unit=plan.global_batch_size),
    "tokens": lambda plan: Axis(label="tokens", unit=plan.global_batch_size * plan.sequence_length),
}


def axis_of(plan: Plan, name: str) -> Axis:
    """Return a campaign's axis ``name``; raises RefusedError for another name, and where it would have two scales."""
    if name not in _AXES:
        raise RefusedError(f"There is no axis {name!r}.", f"choose one of {', '.join(_AXES)}.")
    if name != "iterations" and (batches := plan.batches).rises:
        raise RefusedError(f"The axis {name} has no one scale: the batch is {batches.words}.", "choose iterations.")
    if name == "tokens" and (lengths := plan.lengths - {plan.sequence_length}):
        raise RefusedError(
            f"The axis tokens has no one scale: main has samples of {plan.sequence_length:,} tokens, and a branch of "
            f"{max(lengths):,}.",
            "choose iterations or samples.",
        )
    return _AXES[name](plan)
