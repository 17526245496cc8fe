"""Event files as a job writes them, and plans of N versions by T iterations."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from megatron_lrps.plan import Tree, expand, parse_plan
from tests.monitor import chromium

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tensorboard's own deprecations
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

Values = Iterable[tuple[str, int, float]]
LogJob = Callable[..., Path]


@pytest.fixture
def log_job() -> LogJob:
    """`log_job(folder, [(tag, step, value)])`: one start of a job, in an event file of its own, returned.

    With ``at`` a step is logged so many seconds after that time.
    """

    def log(folder: Path, values: Values, *, at: float | None = None) -> Path:
        before = set(folder.glob("*"))
        writer = EventFileWriter(str(folder))
        for tag, step, value in values:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=0.0 if at is None else at + step, summary=summary))
        writer.close()
        (file,) = set(folder.glob("*")) - before
        return file

    return log


LISTED = """\
campaign: demo
save: run
sequence_length: 8
global_batch_size: 4
lr: {max: 3.0e-4, min: 3.0e-5}
versions:
  - {name: v1, iters: 100, train: [[1.0, t1]], valid: {web: w1}}
  - {name: v2, iters: 100, train: [[1.0, t2]], valid: {web: w2}}
paths:
  - {name: first, version: v1, end: 100, schedule: [{kind: hold}]}
  - {name: half, version: v2, parent: first, fork: 100, end: 200, schedule: [{kind: cosine, until: 300}]}
  - {name: whole, version: v2, parent: first, fork: 100, end: 200, schedule: [{kind: cosine, until: 200}]}
  - {name: linear, version: v2, parent: first, fork: 100, end: 200, schedule: [{kind: linear, until: 200}]}
"""


@pytest.fixture
def listed(tmp_path: Path) -> Tree:
    """Two versions of 100 iterations by a plan's own `paths:`; three of them give v2, two from max to min."""
    return expand(parse_plan(LISTED, base=tmp_path))


@pytest.fixture
def program() -> str:
    found = chromium.find()
    if found is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(chromium.NAMES)} is on the PATH")
    return found


MakeTree = Callable[..., Tree]


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """`make_tree(4, 100)`: four versions of 100 iterations, alpha 0.6, each with one validation set."""

    def make(
        count: int, iterations: int, *, paradigm: str = "lrps", shape: str = "cosine", minimum: float = 3e-5
    ) -> Tree:
        versions = "".join(
            f"  - {{name: v{i}, iters: {iterations}, train: [[1.0, t{i}]], valid: {{web: w{i}}}}}\n"
            for i in range(1, count + 1)
        )
        text = (
            f"campaign: demo\nsave: run\nparadigm: {paradigm}\nsequence_length: 8\nglobal_batch_size: 4\n"
            f"lr: {{max: 3.0e-4, min: {minimum}, warmup_iters: {iterations // 20}}}\n"
            f"decay: {{shape: {shape}, alpha: 0.6}}\nversions:\n{versions}"
        )
        return expand(parse_plan(text, base=tmp_path))

    return make
