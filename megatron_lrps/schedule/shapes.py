"""Decay shapes. A new shape is one entry of ``SHAPES``, which plans, flags, documents and forecasts read.

A continuous shape maps the elapsed share x of its decay interval, 0 <= x <= 1, to the share of
``max_lr - min_lr`` that is left, from 1 (max) to 0 (min). The four shapes of stock Megatron (cosine, linear, 1-sqrt,
exponential) do the same operations in the same order as ``megatron/core/optimizer_param_scheduler.py``,
so that both give the same bits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

type Steps = tuple[tuple[float, float], ...]
"""Pairs of (share of the interval at which a step begins, learning rate as a factor of max), rising."""


def cosine(x: float) -> float:
    """(1 + cos(pi x)) / 2."""
    return 0.5 * (math.cos(math.pi * x) + 1.0)


def linear(x: float) -> float:
    """1 - x."""
    return 1.0 - x


def one_minus_sqrt(x: float) -> float:
    """1 - sqrt(x) (Hägele et al. 2024, arXiv 2405.18392)."""
    return 1.0 - math.sqrt(x)


def exponential(x: float) -> float:
    """2 * 0.5^x - 1: half-life of one interval, shifted to end at 0."""
    return (2.0 * math.pow(0.5, x)) - 1.0


@dataclass(frozen=True, kw_only=True)
class DecayShape:
    """A decay shape, given by a function, by the name of another shape, or by steps.

    Attributes:
        about: What it does, as a sentence for docs/plan.md that begins with a verb.
        left: For a continuous shape, the share that is left after the share x of the interval.
        curve: For a shape that borrows its curve, the continuous shape that its decay follows.
        hold: The share of a whole schedule (PTFS, CPT) that stays at max first. A branch has no hold, since the main
            path takes its place.
        steps: For a stepped shape, the steps of a whole schedule; the rate is max before the first of them.
        branch_steps: For a stepped shape, the steps of a branch; the first begins at share 0.
        stock_style: The ``--lr-wsd-decay-style`` of stock Megatron that draws the same curve; None if it has none.
    """

    about: str
    left: Callable[[float], float] | None = None
    curve: str | None = None
    hold: float = 0.0
    steps: Steps = ()
    branch_steps: Steps = ()
    stock_style: str | None = None


SHAPES: dict[str, DecayShape] = {
    "cosine": DecayShape(
        about="falls along half a cosine wave, (1 + cos(pi x)) / 2", left=cosine, stock_style="cosine"
    ),
    "knee": DecayShape(
        about="falls linearly, after a whole PTFS or CPT schedule has held the maximum for its first half",
        curve="linear", hold=0.5,
    ),
    "multi-step": DecayShape(
        about="falls in steps", steps=((0.8, 0.316), (0.9, 0.1)), branch_steps=((0.0, 0.316), (0.5, 0.1))
    ),
    "linear": DecayShape(about="falls linearly, 1 - x", left=linear, stock_style="linear"),
    "1-sqrt": DecayShape(
        about="falls fast at first, 1 - sqrt(x) (arXiv 2405.18392)", left=one_minus_sqrt, stock_style="minus_sqrt"
    ),
    "exponential": DecayShape(
        about="falls exponentially, 2 * 0.5^x - 1", left=exponential, stock_style="exponential"
    ),
}  # fmt: skip
"""Name, as in a plan's ``decay.shape`` -> the shape."""


def continuous_shapes() -> tuple[str, ...]:
    """Return the shapes that a decay segment can have: those with their own function."""
    return tuple(name for name, shape in SHAPES.items() if shape.left is not None)
