"""The charts of TensorBoard's Custom Scalars tab."""

import re
from collections.abc import Collection

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import metadata
from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent
from tensorboard.util.tensor_util import make_tensor_proto

from megatron_lrps.monitor.pictures.loss_picture import loss_sets
from megatron_lrps.monitor.printed_figures import LOSS, MEAN_LOSS, SECONDS, THROUGHPUT
from megatron_lrps.monitor.scalars import VS_SAMPLES
from megatron_lrps.monitor.tensorboard.path_events import MARKERS, NORM, PRINTED, RATE, VS_TOKENS
from megatron_lrps.plan import Tree

_AXES = {"iterations": "", "samples": VS_SAMPLES, "tokens": VS_TOKENS}
_FP8 = re.compile(r"fp8|amax", re.IGNORECASE)


def layout(tree: Tree, tags: Collection[str]) -> list[Event]:
    """The charts of what was logged: LR paths, loss by path, validation by window, throughput; empty without any.

    Args:
        tree: The plan's.
        tags: Every tag of any path, over iterations and derived.
    """
    rates = [_chart(f"learning rate over {axis}", RATE + tag) for axis, tag in _AXES.items()]
    losses = [_chart(f"training loss over {axis}", LOSS + tag, MEAN_LOSS + tag) for axis, tag in _AXES.items()]
    sets = loss_sets(tree)
    categories = [
        (
            "LR paths",
            [*rates, _chart("forks, resumes, ends; saves below", RATE, f"{MARKERS}.* {RATE}", f"{MARKERS}saved")],
            False,
        ),
        ("Loss by path", [*losses, _chart("loss at forks and ends", LOSS, f"{MARKERS}(fork|ended).* {LOSS}")], False),
        *(
            (
                f"Validation by window{'' if axis == 'iterations' else f', over {axis}'}",
                [_chart(name, re.escape(each) + tag) for name, each in sets.items()],
                axis != "iterations",
            )
            for axis, tag in _AXES.items()
        ),
        (
            "Throughput",
            [
                _chart("TFLOP/s a GPU", f"({PRINTED})?{THROUGHPUT}"),
                _chart("seconds an iteration", f"({PRINTED})?{SECONDS}"),
            ],
            False,
        ),
        ("Precision", [*_fp8(tags), _chart("gradient norm", NORM), _chart("loss scale", "loss-scale")], False),
    ]
    shown = [
        Category(title=title, chart=kept, closed=closed)
        for title, charts, closed in categories
        if (kept := [chart for chart in charts if _has_any(chart, tags)])
    ]
    if not shown:
        return []
    content = Layout(category=shown).SerializeToString(deterministic=True)
    tensor = make_tensor_proto(content, dtype=np.object_)
    value = Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, metadata=metadata.create_summary_metadata(), tensor=tensor)
    return [Event(summary=Summary(value=[value]))]


def _chart(title: str, *patterns: str) -> Chart:
    # TensorBoard matches from a tag's beginning, not to its end.
    return Chart(title=title, multiline=MultilineChartContent(tag=[f"{pattern}$" for pattern in patterns]))


def _has_any(chart: Chart, tags: Collection[str]) -> bool:
    return any(re.match(pattern, tag) for pattern in chart.multiline.tag for tag in tags)


def _fp8(tags: Collection[str]) -> list[Chart]:
    """A chart for each FP8 figure that a script of the user's has logged; Megatron's own logs none."""
    return [_chart(tag, re.escape(tag)) for tag in sorted(tags) if _FP8.search(tag)]
