"""Conditions on scores, with numbers that a reader can work out."""

import math
from collections.abc import Mapping

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.gate import Judged, judge, read_gate

SCORES = {
    "v2": {"ppl/v1-web": 10.0, "ppl/v2-web": 20.0, "bpb/v1-code": 0.5, "acc/arc_easy": 0.5},
    "v3": {"ppl/v1-web": 10.1, "ppl/v2-web": 20.3, "bpb/v1-code": 0.4, "acc/arc_easy": 0.6, "ppl/v3-news": math.inf},
}


def judged(text: str, how: Mapping[str, object] | None = None) -> list[Judged]:
    def measured(version: str, score: str) -> Mapping[str, object]:
        return {"limit": None} if version == "v3" or how is None else how

    return judge(read_gate(text, "gate.txt"), "v3", SCORES.__getitem__, measured)


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("ppl/v1-web <= 1.01 * v2", True),  # 10.1 <= 10.1
        ("ppl/v1-web < 1.01 * v2", False),
        ("ppl/v2-web<=1.01*v2", False),  # 20.3 <= 20.2
        ("bpb/code <= v2", True),  # one version alone has a set called code
        ("acc/arc_easy >= 0.6", True),
        ("acc/arc_easy > .6", False),
        ("ppl/news <= 1e300", False),  # infinite
    ],
)
def test_a_condition_is_judged_by_its_numbers(line: str, holds: bool) -> None:
    (found,) = judged(line)
    assert found.holds is holds


def test_what_is_judged_says_both_numbers() -> None:
    first, second = judged("# a gate\n\nppl/v2-web <= 1.01 * v2  # as in the paper\nacc/arc_easy >= 0.9\n")
    assert str(first) == "ppl/v2-web <= 1.01 * v2: 20.3 <= 20.2 (v2 has 20) does not hold"
    assert str(second) == "acc/arc_easy >= 0.9: 0.6 >= 0.9 does not hold"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no condition"),
        ("# nothing\n", "holds no condition"),
        ("ppl/web <= 1.01 x v2", "line 1: 'ppl/web <= 1.01 x v2' is not a condition"),
        ("\nppl <= 3", "line 2: 'ppl <= 3' is not a condition"),
        ("ppl/web == 3", "is not a condition"),
        ("ppl/web <= 3\nimport os", "line 2: 'import os' is not a condition"),
        ("ppl/web <= 3", "ppl/web can mean ppl/v1-web or ppl/v2-web of v3"),
        ("ppl/books <= 3", "v3 has no score ppl/books; it has ppl/v1-web, ppl/v2-web, bpb/v1-code, acc/arc_easy"),
        ("ppl/v3-news <= v2", "v2 has no score ppl/v3-news"),
    ],
)
def test_what_cannot_be_judged_is_refused(text: str, said: str) -> None:
    with pytest.raises(RefusedError) as error:
        judged(text)
    assert said in str(error.value)


def test_scores_that_were_measured_otherwise_are_not_compared() -> None:
    with pytest.raises(RefusedError) as error:
        judged("ppl/v1-web <= v2", {"limit": 1000})
    assert "ppl/v1-web cannot be compared: limit is None for v3, and 1000 for v2" in str(error.value)
