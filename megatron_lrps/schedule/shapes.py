"""Decay shapes: how much of the way from the maximal to the minimal learning rate is left.

A continuous shape maps the elapsed share x of its decay interval, 0 <= x <= 1, to a share of
``max_lr - min_lr``, from 1 (max) to 0 (min). The four that stock Megatron has (cosine, linear, 1-sqrt,
exponential) do the same operations in the same order as ``megatron/core/optimizer_param_scheduler.py``,
so that both give the same bits.
"""

import math
from collections.abc import Callable
from types import MappingProxyType


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


CONTINUOUS: MappingProxyType[str, Callable[[float], float]] = MappingProxyType(
    {"cosine": cosine, "linear": linear, "1-sqrt": one_minus_sqrt, "exponential": exponential}
)
"""The shapes that a decay segment can have. ``knee`` is a hold, then ``linear``."""

SHAPES: tuple[str, ...] = ("cosine", "knee", "multi-step", "linear", "1-sqrt", "exponential")
"""What ``decay.shape`` of a plan may say."""

STOCK_WSD_STYLES: MappingProxyType[str, str] = MappingProxyType(
    {"cosine": "cosine", "linear": "linear", "1-sqrt": "minus_sqrt", "exponential": "exponential"}
)
"""Shape -> the ``--lr-wsd-decay-style`` of stock Megatron that draws the same curve."""
