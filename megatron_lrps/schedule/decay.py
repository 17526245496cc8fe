"""A complete decay as segments: of a branch, and of a whole schedule (PTFS, CPT) that holds first."""

from dataclasses import dataclass

from megatron_lrps.schedule.segments import Segment
from megatron_lrps.schedule.shapes import SHAPES, Steps


@dataclass(frozen=True, kw_only=True)
class DecaySpec:
    """How a learning rate decays, apart from where.

    Attributes:
        shape: One of ``shapes.SHAPES``.
        hold: The share of a whole schedule (PTFS, CPT) that stays at max first.
        steps: The steps of a stepped shape's whole schedule; None for the shape's own.
        branch_steps: The steps of a stepped shape's branch; None for the shape's own.
    """

    shape: str = "cosine"
    hold: float = 0.0
    steps: Steps | None = None
    branch_steps: Steps | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape {self.shape!r} is not one of {', '.join(SHAPES)}")


def branch_decay(spec: DecaySpec, start: int, end: int, *, batch: int) -> tuple[Segment, ...]:
    """A branch's complete decay from max to min over the samples [start, end).

    Args:
        spec: The shape. The hold of a whole schedule is left out, since the main path is it.
        start: The fork point, in samples.
        end: The version's end, in samples.
        batch: Samples of an iteration: steps change between iterations, at the nearest boundary.

    Raises:
        ValueError: A step gets no iteration.
    """
    if SHAPES[spec.shape].steps:
        return _steps(spec.branch_steps or SHAPES[spec.shape].branch_steps, start, end, batch=batch)
    return (_decay(spec.shape, start, end),)


def whole_decay(spec: DecaySpec, start: int, end: int, *, after: int, batch: int) -> tuple[Segment, ...]:
    """A whole schedule (PTFS, CPT) over the samples [start, end): held at max for a share, then decayed.

    Args:
        spec: The shape; its hold and its steps are shares of [start, end).
        start: Where the schedule starts, in samples.
        end: Where it ends.
        after: Where the warm-up ends, >= start. A shape without a hold decays from there, as stock Megatron does.
        batch: Samples of an iteration.

    Raises:
        ValueError: The warm-up reaches into the decay, or a step or the decay gets no iteration.
    """
    shape = SHAPES[spec.shape]
    if shape.steps:
        steps = _steps(spec.steps or shape.steps, start, end, batch=batch)
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
    return (*_hold(after, begin), _decay(spec.shape, begin, end))


def _decay(shape: str, start: int, end: int) -> Segment:
    return Segment(kind="decay", start=start, end=end, shape=SHAPES[shape].curve or shape)


def _steps(pairs: Steps, start: int, end: int, *, batch: int) -> tuple[Segment, ...]:
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


def _nearest(samples: float, batch: int) -> int:
    return int(samples / batch + 0.5) * batch
