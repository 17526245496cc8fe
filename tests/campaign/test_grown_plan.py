"""A plan's text that grows by a cut."""

import pytest

from megatron_lrps.campaign.grown_plan import grown_text
from megatron_lrps.errors import PlanError
from megatron_lrps.plan import parse_plan
from tests.plan.plans import BASE, PLAN


def grown(text: str, **keys: object) -> str:
    values = {"name": "hotfix", "fork": 700, "iters": 100, "shape": None, **keys}
    return grown_text(text, parse_plan(text, base=BASE), **values)  # type: ignore[arg-type]


def test_the_first_cut_is_put_at_the_end() -> None:
    assert grown(PLAN + "# ours\n") == PLAN + "# ours\ncuts:\n  - {name: hotfix, fork: 700, iters: 100}\n"
    assert grown(PLAN.rstrip("\n"), shape="linear").endswith(
        "\ncuts:\n  - {name: hotfix, fork: 700, iters: 100, decay: {shape: linear}}\n"
    )


@pytest.mark.parametrize("indent", ["", "  ", "      "])
def test_the_next_one_follows_the_last(indent: str) -> None:
    text = f"cuts:  # off main\n{indent}- name: a\n{indent}  fork: 600\n{indent}  iters: 9  # short\n# then\n{PLAN}"
    lines = grown(text).splitlines()
    assert lines[1:6] == [
        f"{indent}- name: a",
        f"{indent}  fork: 600",
        f"{indent}  iters: 9  # short",
        f"{indent}- {{name: hotfix, fork: 700, iters: 100}}",
        "# then",
    ]
    assert [cut.name for cut in parse_plan(grown(text), base=BASE).cuts] == ["a", "hotfix"]


def test_after_two_flow_entries_at_the_end_of_the_file() -> None:
    text = PLAN + "cuts:\n- {name: a, fork: 600, iters: 9}\n- {name: b, fork: 601, iters: 9}"
    assert grown(text) == text + "\n- {name: hotfix, fork: 700, iters: 100}\n"


@pytest.mark.parametrize(
    "text",
    [
        "{campaign: c, save: s, sequence_length: 16, global_batch_size: 8, versions: [{name: v1, iters: 1000}]}",
        PLAN + "cuts: [{name: a, fork: 600, iters: 9}]\n",
        PLAN + "cuts: []\n",
    ],
)
def test_where_nothing_can_be_added_the_line_is_shown(text: str) -> None:
    with pytest.raises(PlanError, match=r"by hand: cuts: \[\{name: hotfix, fork: 700, iters: 100\}\]"):
        grown(text)
