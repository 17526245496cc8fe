"""docs/arguments.md against the table that it shows."""

from pathlib import Path

from megatron_lrps.plan.arguments_page import page
from megatron_lrps.plan.megatron_arguments import arguments

PAGE = Path(__file__).resolve().parents[2] / "docs" / "arguments.md"


def test_the_page_is_up_to_date() -> None:
    fix = "python -m megatron_lrps.plan.arguments_page > docs/arguments.md"
    assert PAGE.read_text(encoding="utf-8") == page(), f"the page is stale; write it anew: {fix}"


def test_each_argument_has_its_row() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `--") or line.startswith("|  | `")]
    assert len(rows) == len(arguments())
    assert "| `--fp8-format` | `fp8` | one of e4m3, hybrid |  |  |  |" in rows
    assert "| `--log-progress` | `log_progress` | true or false | `False` |  | yes |" in rows
    assert "| `--lr` | `lr` | a number |  | `lr.max` | yes |" in rows
    assert "| `--finetune` | `finetune` | true or false | `False` | refused | refused |" in rows
