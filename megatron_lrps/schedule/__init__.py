"""Learning-rate schedules as pure functions of the absolute sample. Imports neither torch nor Megatron."""

from megatron_lrps.schedule.batches import Batches
from megatron_lrps.schedule.decay import DecaySpec, branch_decay, whole_decay
from megatron_lrps.schedule.merge import MeanPart, MergeSpec, merge_kinds
from megatron_lrps.schedule.paradigms import Branch, branch_schedule, hold_for_ever, main_schedule, warmup
from megatron_lrps.schedule.segments import Schedule, Segment
from megatron_lrps.schedule.shapes import SHAPES, DecayShape, continuous_shapes

__all__ = [
    "SHAPES",
    "Batches",
    "Branch",
    "DecayShape",
    "DecaySpec",
    "MeanPart",
    "MergeSpec",
    "Schedule",
    "Segment",
    "branch_decay",
    "branch_schedule",
    "continuous_shapes",
    "hold_for_ever",
    "main_schedule",
    "merge_kinds",
    "warmup",
    "whole_decay",
]
