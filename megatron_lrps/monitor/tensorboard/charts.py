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
from megatron_lrps.monitor.tensorboard.known import NORM, PRINTED, RATE, VS_TOKENS
from megatron_lrps.monitor.tensorboard.path_run import MARKERS
from megatron_lrps.plan import Tree

_AXES = {"iterations": "", "samples": VS_SAMPLES, "tokens": VS_TOKENS}
_FP8 = re.compile(r"fp8|amax", re.IGNORECASE)


def layout(tree: Tree, tags: Collection[str]) -> list[Event]:
    """Return the charts of logged figures: learning rates, losses, validation by window, throughput; empty without any.

    Args:
        tree: The plan's tree.
        tags: Every tag of any path, over iterations and derived.
    """
    rates = [_chart(f"learning rate over {axis}", RATE + suffix) for axis, suffix in _AXES.items()]
    losses = [_chart(f"training loss over {axis}", LOSS + tag, MEAN_LOSS + tag) for axis, tag in _AXES.items()]
    fp8 = [_chart(tag, re.escape(tag)) for tag in sorted(tags) if _FP8.search(tag)]  # a user's script logs them
    markers = _chart("forks, resumes, ends; saves below", RATE, f"{MARKERS}.* {RATE}", f"{MARKERS}saved")
    at_markers = _chart("loss at forks and ends", LOSS, f"{MARKERS}(fork|ended).* {LOSS}")
    validation = {
        f"Validation by window{f', over {axis}' if suffix else ''}": [
            _chart(name, re.escape(tag) + suffix) for name, tag in loss_sets(tree).items()
        ]
        for axis, suffix in _AXES.items()
    }
    speed = {"TFLOP/s a GPU": THROUGHPUT, "seconds an iteration": SECONDS}
    categories = {
        "LR paths": [*rates, markers],
        "Loss by path": [*losses, at_markers],
        **validation,
        "Throughput": [_chart(title, f"({PRINTED})?{tag}") for title, tag in speed.items()],
        "Precision": [*fp8, _chart("gradient norm", NORM), _chart("loss scale", "loss-scale")],
    }
    shown = [
        Category(title=title, chart=kept, closed=", over " in title)
        for title, charts in categories.items()
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
