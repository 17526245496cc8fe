"""A path's learning rate as an explicit list of segments over absolute samples.

A schedule is a pure function of the absolute position: the number of samples consumed before an
iteration gives the learning rate of that iteration. Nothing else is state, so a resumed, forked or
re-planned run cannot drift. Positions are samples, as in Megatron's own scheduler.
"""

import bisect
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

from megatron_lrps.schedule.shapes import SHAPES, continuous_shapes

SegmentKind = Literal["warmup", "hold", "decay", "factor", "rewarm"]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One piece of a learning-rate curve, over the samples [start, end).

    Attributes:
        kind: ``warmup`` (linear from the initial to the maximal LR), ``hold`` (maximal), ``decay``
            (``shape`` from max to min), ``factor`` (a constant ``factor`` times max, never below min) or
            ``rewarm`` (linear from min back to max, as continual pretraining warms up again).
        start: First position, in samples.
        end: Position after the last, in samples; None for a hold that never ends (the main path).
        shape: For a decay only, a continuous shape in ``shapes.SHAPES``.
        factor: For a factor segment only, the share of max_lr.
        whole_end: For a decay that is cut early, where it would have reached the minimum, in samples; else None.
    """

    kind: SegmentKind
    start: int
    end: int | None
    shape: str | None = None
    factor: float | None = None
    whole_end: int | None = None

    def __post_init__(self) -> None:
        # Records on disk come in here too, which no type checker has seen.
        if self.kind not in get_args(SegmentKind):
            raise ValueError(f"segment {self.kind!r} is not one of {', '.join(get_args(SegmentKind))}")
        if type(self.start) is not int or (self.end is not None and type(self.end) is not int):
            raise ValueError(
                f"segment {self.kind} lies over ({self.start!r}, {self.end!r}], and positions are whole samples"
            )
        if self.end is None and self.kind != "hold":
            raise ValueError(f"only a hold may be endless, not a {self.kind} from sample {self.start}")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"segment {self.kind} ends at sample {self.end}, not after its start {self.start}")
        if self.shape not in (continuous_shapes() if self.kind == "decay" else (None,)):
            raise ValueError(f"segment {self.kind} has the shape {self.shape!r}")
        if (self.kind == "factor") != (self.factor is not None):
            raise ValueError(f"segment {self.kind} has the factor {self.factor!r}")
        if self.factor is not None and not (isinstance(self.factor, int | float) and 0 <= self.factor <= 1):
            raise ValueError(f"segment factor has the factor {self.factor!r}, outside of [0, 1]")
        if self.whole_end is not None:
            if self.kind != "decay" or type(self.whole_end) is not int:
                raise ValueError(f"segment {self.kind} has the whole end {self.whole_end!r}")
            if self.end is None or self.whole_end <= self.end:
                raise ValueError(f"a decay to sample {self.whole_end} cannot be cut at sample {self.end}, behind it")

    def lr(self, position: int, *, max_lr: float, min_lr: float, init_lr: float) -> float:
        """Return the learning rate at ``position`` (samples), which must lie in this segment or at its end."""
        if self.kind == "hold":
            return max_lr
        if self.kind == "factor":
            return max(max_lr * cast(float, self.factor), min_lr)
        # Same operations in the same order as stock Megatron, for equal bits.
        whole = cast(int, self.whole_end or self.end)
        elapsed, length = float(position - self.start), float(whole - self.start)
        if self.kind == "warmup":
            return init_lr + ((max_lr - init_lr) * elapsed / length)
        if self.kind == "rewarm":
            return min_lr + (max_lr - min_lr) * elapsed / length
        left = cast(Callable[[float], float], SHAPES[cast(str, self.shape)].left)
        return min_lr + left(elapsed / length) * (max_lr - min_lr)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict, without the fields that this kind does not have."""
        return {key: value for key, value in asdict(self).items() if value is not None or key == "end"}


@dataclass(frozen=True)
class Schedule:
    """The whole learning-rate curve of a path, from sample 0, ancestors included.

    Args:
        segments: Contiguous from sample 0. Past the last one the learning rate is min_lr.
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        expected: int | None = 0
        for segment in self.segments:
            if segment.start != expected:
                raise ValueError(f"segment {segment.kind} starts at sample {segment.start}, not at {expected}")
            expected = segment.end
        if not self.segments:
            raise ValueError("a schedule needs at least one segment")
        if any(segment.kind == "warmup" and segment.start != 0 for segment in self.segments):
            raise ValueError("a warm-up can only be the first segment")
        object.__setattr__(self, "_starts", [segment.start for segment in self.segments])

    def lr(self, position: int, *, max_lr: float, min_lr: float, init_lr: float = 0.0) -> float:
        """Return the learning rate of the iteration that starts after ``position`` samples.

        Args:
            position: Samples consumed before the iteration, >= 0.
            max_lr: The parameter group's maximal learning rate.
            min_lr: The group's minimal learning rate.
            init_lr: The learning rate at the start of the warm-up (``--lr-warmup-init``).
        """
        segment = self.segments[self._index(position)]
        if segment.end is not None and position > segment.end:
            return min_lr
        if segment.end == position and segment.kind in ("hold", "factor"):
            return min_lr
        return segment.lr(position, max_lr=max_lr, min_lr=min_lr, init_lr=init_lr)

    def _index(self, position: int) -> int:
        if position < 0:
            raise ValueError(f"position {position} is negative")
        starts: list[int] = self.__dict__["_starts"]
        index = bisect.bisect_right(starts, position) - 1
        # Stock Megatron applies the warm-up formula at its last position too (num_steps <= lr_warmup_steps).
        if index > 0 and position == starts[index] and self.segments[index - 1].kind == "warmup":
            return index - 1
        return index

    @property
    def warmup(self) -> int:
        """The samples of warm-up, 0 without one."""
        first = self.segments[0]
        return cast(int, first.end) if first.kind == "warmup" else 0

    def until(self, position: int) -> tuple[Segment, ...]:
        """Return the segments up to ``position``: equal results mean equal learning rates so far.

        A cut hold or factor equals any other that reaches this far. A cut decay keeps its ``whole_end``, which
        shapes its past too.
        """
        past: list[Segment] = []
        for segment in self.segments:
            if segment.start >= position:
                break
            reach = segment.end is None or segment.end > position
            if reach and segment.kind in ("hold", "factor"):
                segment = replace(segment, end=position)
            elif reach and segment.kind == "decay":
                segment = replace(segment, end=position, whole_end=segment.whole_end or segment.end)
            flat = segment.kind in ("hold", "factor")
            if past and flat and (past[-1].kind, past[-1].factor) == (segment.kind, segment.factor):
                # adjacent holds count as one
                segment = replace(segment, start=past.pop().start)
            past.append(segment)
        return tuple(past)

    def followed_by(self, segments: Iterable[Segment], at: int, *, cut: bool = False) -> "Schedule":
        """Return a fork: this schedule up to the position ``at`` (samples), then ``segments``.

        Args:
            segments: The segments from ``at`` on.
            at: The fork, in samples.
            cut: The path itself ends at ``at``, so an incomplete decay may be left there.

        Raises:
            ValueError: ``at`` is inside a warm-up or a decay, which cannot be left half-way.
        """
        for segment in self.segments:
            cuttable = segment.kind in ("hold", "factor") or (cut and segment.kind == "decay")
            if segment.end is not None and segment.start < at < segment.end and not cuttable:
                raise ValueError(f"sample {at} lies inside the {segment.kind} that ends at sample {segment.end}")
        return Schedule((*self.until(at), *segments))

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain lists and dicts, for checkpoints and lineage records."""
        return [segment.to_json() for segment in self.segments]

    @classmethod
    def from_json(cls, data: Iterable[dict[str, Any]]) -> "Schedule":
        """Read the output of ``to_json``; raises ValueError or TypeError if it is no schedule."""
        return cls(tuple(Segment(**item) for item in data))

    def stock(self) -> tuple[str, str | None, int | None]:
        """Return the nearest stock Megatron schedule: (decay style, WSD style, WSD samples).

        ``("constant", None, None)`` for a main path, ``("WSD", style, samples)`` if the last segment is a decay
        that stock has too and only warm-up and hold come before it. Anything else, which stock cannot do, is
        ``("constant", None, None)`` as well.
        """
        *before, last = self.segments
        if (
            last.kind == "decay"
            and last.whole_end is None
            and all(segment.kind in ("warmup", "hold") for segment in before)
            and (style := SHAPES[cast(str, last.shape)].stock_style)
        ):
            return "WSD", style, cast(int, last.end) - last.start
        return "constant", None, None
