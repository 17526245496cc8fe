"""Learning-rate schedules as pure functions of the absolute sample. Imports neither torch nor Megatron."""

from megatron_lrps.schedule.decay import (
    BRANCH_STEPS,
    WHOLE_STEPS,
    DecaySpec,
    branch_decay,
    hold_for_ever,
    warmup,
    whole_decay,
)
from megatron_lrps.schedule.segments import Schedule, Segment
from megatron_lrps.schedule.shapes import CONTINUOUS, SHAPES, STOCK_WSD_STYLES

__all__ = [
    "BRANCH_STEPS",
    "CONTINUOUS",
    "SHAPES",
    "STOCK_WSD_STYLES",
    "WHOLE_STEPS",
    "DecaySpec",
    "Schedule",
    "Segment",
    "branch_decay",
    "hold_for_ever",
    "warmup",
    "whole_decay",
]
