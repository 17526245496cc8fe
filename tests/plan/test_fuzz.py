"""No input gives a traceback: mutated plans, arbitrary text, slips of the pen."""

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatron_lrps.errors import PlanError
from megatron_lrps.plan import expand, parse_plan, plan_text
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.schedule import SHAPES
from tests.plan.plans import BASE, PLAN, plan_dict, versions

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2000),
    st.sampled_from([10**15, 10**16, 10**400, -(10**30)]),
    st.floats(),
    st.sampled_from([0.5, 1.0, 0.999999, 1e-9, 5e-324]),
    st.text(max_size=8),
    st.sampled_from(["v1", "main", "a/b", "21B", "1.5M", "~root", "..", "--lr", "", *SHAPES, "lrps", "ptfs", "cpt"]),
)
KEYS = [
    "name",
    "iters",
    "samples",
    "tokens",
    "train",
    "valid",
    "decay",
    "shape",
    "alpha",
    "hold",
    "steps",
    "max",
    "min",
]
KEYS += [
    "warmup_iters",
    "branch_steps",
    "parent",
    "fork",
    "end",
    "schedule",
    "kind",
    "until",
    "factor",
    "order",
    "type",
]
KEYS += ["lr", "save", "global-batch-size", "lr-warmup-init", "finetune", "num-layers", "device", "slurm", "local"]
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=6,
)


def everything(text: str) -> None:
    """All that a plan goes through before anything runs."""
    try:
        plan = parse_plan(text, base=BASE)
        tree = expand(plan)
        for path in tree.paths:
            path_flags(tree, path)
            assert 0 <= path.fork < path.end
            for iteration in (path.fork, path.end - 1, path.end):
                lr = path.schedule.lr(iteration * plan.global_batch_size, max_lr=plan.lr.max, min_lr=plan.lr.min)
                assert 0 <= lr <= plan.lr.max * (1 + 2.0**-52)
        assert expand(parse_plan(plan_text(plan), base=Path("/"))).paths == tree.paths
    except PlanError as error:
        assert "\n" not in str(error)  # noqa: PT017 - valid plans raise nothing, and both are right
        assert error.fix  # noqa: PT017


VALID = [
    plan_dict(paradigm=["lrps", "ptfs", "cpt"], lr={"max": 1e-3, "min": 1e-4, "warmup_iters": 10}),
    plan_dict(paradigm="cpt", decay={"shape": "knee"}, versions=versions(9, 1, 5)),
    plan_dict(paradigm="ptfs", decay={"shape": "multi-step"}, versions=versions(10, 20)),
    plan_dict(
        paths=[
            {"name": "a", "end": 50, "schedule": [{"kind": "warmup", "until": 5}, {"kind": "hold"}]},
            {"name": "b", "parent": "a", "fork": 20, "end": 40, "schedule": [{"kind": "linear", "until": 40}]},
        ]
    ),
    plan_dict(
        versions=versions(50, train=[[1.0, "x"]], valid={"w": "y"}, decay={"alpha": 0.5}),
        tokenizer={"type": "null", "vocab_size": 9},
        megatron={"num-layers": 2, "hidden-size": 8, "swiglu": True},
        launch={"device": "cpu", "slurm": {"nodes": 2}},
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid plan with one to three places replaced, removed or added."""
    plan = json.loads(json.dumps(draw(st.sampled_from(VALID))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = plan
        while True:
            if isinstance(place, dict):
                key: Any = draw(st.sampled_from([*place, "decay", "paradigm", "new"]))
            elif place:
                key = draw(st.integers(0, len(place) - 1))
            else:
                break
            inside = place.get(key) if isinstance(place, dict) else place[key]
            if isinstance(inside, dict | list) and draw(st.booleans()):
                place = inside
                continue
            if draw(st.integers(0, 5)) == 0 and (not isinstance(place, dict) or key in place):
                del place[key]
            else:
                place[key] = draw(values)
            break
    return plan


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutated())
def test_no_mutated_plan_gives_a_traceback(data: dict[str, Any]) -> None:
    everything(yaml.safe_dump(data, allow_unicode=True))


YAML_BITS = ["campaign: c\n", "? ", ": ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "!!", "!!set ", "!!omap ", "<<: "]
YAML_BITS += [
    "|\n",
    ">\n",
    "'",
    '"',
    "\\",
    "#",
    "\n",
    " ",
    "  ",
    "\t",
    "0x",
    "1e5",
    "2024-01-01",
    "=",
    "~",
    "%YAML 1.1\n",
]


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(), st.lists(st.sampled_from(YAML_BITS)).map("".join)), st.booleans())
def test_no_text_gives_a_traceback(text: str, after_a_plan: bool) -> None:
    everything(PLAN + text if after_a_plan else text)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(PLAN)), st.text(max_size=3), st.integers(0, 3))
def test_no_slip_of_the_pen_gives_a_traceback(at: int, typed: str, removed: int) -> None:
    everything(PLAN[:at] + typed + PLAN[at + removed :])
