"""Complete decays as segments: of a branch, and of a whole schedule (PTFS, CPT), which holds first."""

from dataclasses import dataclass

from megatron_lrps.schedule.batches import Batches
from megatron_lrps.schedule.segments import Segment
from megatron_lrps.schedule.shapes import SHAPES, Steps


@dataclass(frozen=True, kw_only=True)
class DecaySpec:
    """A decay of the learning rate, without its position.

    Attributes:
        shape: One of ``shapes.SHAPES``.
        hold: The share of a whole schedule (PTFS, CPT) that stays at max first.
        steps: For a stepped shape, the steps of a whole schedule; None for the shape's defaults.
        branch_steps: For a stepped shape, the steps of a branch; None for the shape's defaults.
    """

    shape: str = "cosine"
    hold: float = 0.0
    steps: Steps | None = None
    branch_steps: Steps | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape {self.shape!r} is not one of {', '.join(SHAPES)}")


def branch_decay(spec: DecaySpec, start: int, end: int, *, batches: Batches) -> tuple[Segment, ...]:
    """Return a branch's complete decay from max to min over the samples [start, end).

    Args:
        spec: The shape. The hold is ignored, since the main path takes its place.
        start: The fork point, in samples.
        end: The version's end, in samples.
        batches: The samples in each iteration; steps change at the nearest iteration boundary.

    Raises:
        ValueError: A step gets no iteration.
    """
    if SHAPES[spec.shape].steps:
        return _steps(spec.branch_steps or SHAPES[spec.shape].branch_steps, start, end, batches=batches)
    return (_decay(spec.shape, start, end),)


def whole_decay(spec: DecaySpec, start: int, end: int, *, after: int, batches: Batches) -> tuple[Segment, ...]:
    """Return a whole schedule (PTFS, CPT) over the samples [start, end): a hold at max, then a decay.

    Args:
        spec: The shape; its hold and its steps are shares of [start, end).
        start: Where the schedule starts, in samples.
        end: Where it ends, in samples.
        after: Where the warm-up ends, >= start. A shape without a hold decays from there, as stock Megatron does.
        batches: The samples in each iteration.

    Raises:
        ValueError: The warm-up reaches into the decay, or a step or the decay gets no iteration.
    """
    shape = SHAPES[spec.shape]
    if shape.steps:
        steps = _steps(spec.steps or shape.steps, start, end, batches=batches)
        first = steps[0].start
        if first < after:
            raise ValueError(f"the warm-up ends at sample {after}, after the first step at sample {first}")
        return (*_hold(after, first), *steps)
    held = batches.nearest(start, spec.hold * (end - start))
    if spec.hold and held < after:
        raise ValueError(f"the warm-up ends at sample {after}, after the hold's end at sample {held}")
    begin = max(after, held)
    if begin >= end:
        iterations = batches.iteration(end) - batches.iteration(start)
        raise ValueError(f"a hold for {spec.hold:g} of {iterations} iterations leaves none to decay in")
    return (*_hold(after, begin), _decay(spec.shape, begin, end))


def _decay(shape: str, start: int, end: int) -> Segment:
    return Segment(kind="decay", start=start, end=end, shape=SHAPES[shape].curve or shape)


def _steps(pairs: Steps, start: int, end: int, *, batches: Batches) -> tuple[Segment, ...]:
    begins = [batches.nearest(start, share * (end - start)) for share, _ in pairs]
    segments = []
    for (share, factor), begin, until in zip(pairs, begins, [*begins[1:], end], strict=True):
        if until <= begin:  # a step left out would keep the learning rate from reaching its minimum
            iterations = batches.iteration(end) - batches.iteration(start)
            raise ValueError(f"the step to {factor:g} of max at {share:g} of {iterations} iterations gets none of them")
        segments.append(Segment(kind="factor", start=begin, end=until, factor=factor))
    return tuple(segments)


def _hold(start: int, end: int) -> tuple[Segment, ...]:
    return (Segment(kind="hold", start=start, end=end),) if end > start else ()
