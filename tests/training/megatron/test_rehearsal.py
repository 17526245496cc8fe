"""`lrps plan --check-layout` where an evaluation would break off: each stage makes one, by Megatron's own code."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.training.megatron.test_model_shards import PP, VIRTUAL, line

BREAKING = """
import contextlib, json, sys
from megatron_lrps.training import cpu; cpu.install()
from megatron_lrps.training.megatron import model_shards, whole_validation

upstreams = {"iterators": lambda args, build: build(), "by_set": lambda args, found: found}

request, answers = json.load(sys.stdin), []
with contextlib.redirect_stdout(sys.stderr):
    for name in (None, *upstreams):
        kept = getattr(whole_validation, name or "iterators")
        if name:
            setattr(whole_validation, name, upstreams[name])
        answers.append({path: found.get("error") for path, found in model_shards.check(request)["paths"].items()})
        setattr(whole_validation, name or "iterators", kept)
json.dump(answers, sys.stdout)
"""
"""Each of the plugin's fixes in turn is taken away, so that Megatron evaluates as it would without it."""


@pytest.mark.training
def test_an_evaluation_that_would_break_off_in_a_job_shows_in_the_check() -> None:
    whole = ("full-validation", "multiple-validation-sets")
    lines = {"two": line(*whole, **{PP: 2}), "four": line(*whole, **{PP: 4}), "virtual": line(*whole, **VIRTUAL)}
    done = subprocess.run(
        [sys.executable, "-c", BREAKING],
        input=json.dumps({"world_size": 16, "lines": lines, "vocabulary": None}),
        capture_output=True,
        text=True,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])  # after the CPU backend's line
    none = "'NoneType' object cannot be interpreted as an integer"
    assert answers == [
        {"two": None, "four": None, "virtual": None},
        {"two": None, "four": none, "virtual": none},  # middle stages read no data
        {
            "two": None,
            "four": None,
            "virtual": "it needs len(eval_iters) == len(data_iterators); full-validation is True",
        },
    ]
