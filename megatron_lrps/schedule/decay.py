"""Segments from what a plan says: warm-up, hold, and a decay of a given shape over a given interval."""

from dataclasses import dataclass

from megatron_lrps.schedule.segments import Segment
from megatron_lrps.schedule.shapes import SHAPES

WHOLE_STEPS: tuple[tuple[float, float], ...] = ((0.8, 0.316), (0.9, 0.1))
"""multi-step over a whole schedule: (share where it begins, LR factor of max); max before the first."""
BRANCH_STEPS: tuple[tuple[float, float], ...] = ((0.0, 0.316), (0.5, 0.1))
"""multi-step of a branch: the main path is its part at max."""


@dataclass(frozen=True, kw_only=True)
class DecaySpec:
    """How a learning rate decays, apart from where.

    Attributes:
        shape: One of ``shapes.SHAPES``.
        hold: Share of a whole schedule (PTFS, CPT) kept at max first; a branch has none, the main path is it.
        whole_steps: multi-step of a whole schedule, (share, factor) pairs with rising shares.
        branch_steps: multi-step of a branch, likewise.
    """

    shape: str = "cosine"
    hold: float = 0.0
    whole_steps: tuple[tuple[float, float], ...] = WHOLE_STEPS
    branch_steps: tuple[tuple[float, float], ...] = BRANCH_STEPS

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape {self.shape!r} is none of {', '.join(SHAPES)}")


def hold_for_ever(start: int) -> tuple[Segment, ...]:
    """The main path: max from ``start`` (samples) on, without an end."""
    return (Segment(kind="hold", start=start, end=None),)


def warmup(end: int) -> tuple[Segment, ...]:
    """Linear warm-up over the first ``end`` samples; nothing for 0."""
    return (Segment(kind="warmup", start=0, end=end),) if end else ()


def branch_decay(spec: DecaySpec, start: int, end: int, *, batch: int) -> tuple[Segment, ...]:
    """A branch's complete decay from max to min over the samples [start, end).

    Args:
        spec: The shape; ``knee`` is its linear part.
        start: The fork point, in samples.
        end: The version's end, in samples.
        batch: Samples of an iteration: steps change between iterations, at the nearest boundary.

    Raises:
        ValueError: where a step gets no iteration.
    """
    if spec.shape == "multi-step":
        return _steps(spec.branch_steps, start, end, batch=batch)
    return (Segment(kind="decay", start=start, end=end, shape=_continuous(spec.shape)),)


def whole_decay(spec: DecaySpec, start: int, end: int, *, after: int, batch: int) -> tuple[Segment, ...]:
    """A whole schedule (PTFS, CPT) over the samples [start, end): held at max for a share, then decayed.

    Args:
        spec: The shape; its ``hold`` and ``whole_steps`` are shares of [start, end).
        start: Where the schedule starts, in samples.
        end: Where it ends.
        after: Where the warm-up ends, >= start. A shape without a hold decays from there, as stock Megatron does.
        batch: Samples of an iteration.

    Raises:
        ValueError: where the warm-up reaches into the decay, or a step or the decay gets no iteration.
    """
    if spec.shape == "multi-step":
        steps = _steps(spec.whole_steps, start, end, batch=batch)
        first = steps[0].start
        if first < after:
            raise ValueError(f"the warm-up ends at sample {after}, after the first step at sample {first}")
        return (*_hold(after, first), *steps)
    held = start + _nearest(spec.hold * (end - start), batch)
    if spec.hold and held < after:
        raise ValueError(f"the warm-up ends at sample {after}, after the hold's end at sample {held}")
    begin = max(after, held)
    if begin >= end:
        raise ValueError(f"a hold for {spec.hold:g} of {(end - start) // batch} iterations leaves none to decay in")
    return (*_hold(after, begin), Segment(kind="decay", start=begin, end=end, shape=_continuous(spec.shape)))


def _steps(pairs: tuple[tuple[float, float], ...], start: int, end: int, *, batch: int) -> tuple[Segment, ...]:
    begins = [start + _nearest(share * (end - start), batch) for share, _ in pairs]
    segments = []
    for (share, factor), begin, until in zip(pairs, begins, [*begins[1:], end], strict=True):
        if until <= begin:  # left out, the learning rate would not come down all the way
            iterations = (end - start) // batch
            raise ValueError(f"the step to {factor:g} of max at {share:g} of {iterations} iterations gets none of them")
        segments.append(Segment(kind="factor", start=begin, end=until, factor=factor))
    return tuple(segments)


def _hold(start: int, end: int) -> tuple[Segment, ...]:
    return (Segment(kind="hold", start=start, end=end),) if end > start else ()


def _continuous(shape: str) -> str:
    return "linear" if shape == "knee" else shape


def _nearest(samples: float, batch: int) -> int:
    return int(samples / batch + 0.5) * batch
