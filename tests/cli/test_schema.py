"""`lrps schema`."""

import json
from pathlib import Path

from megatron_lrps.plan.json_schema import plan_schema
from megatron_lrps.plan.keys_page import plan_markdown
from tests.cli.commands import answer
from tests.conftest import Lrps


def test_the_schema_is_printed_or_written(tmp_path: Path, lrps: Lrps) -> None:
    printed = answer(lrps, "schema")
    assert json.loads(printed) == plan_schema()
    assert "plan.schema.json: every key of a plan." in answer(lrps, "schema", "--output", "plan.schema.json")
    assert (tmp_path / "plan.schema.json").read_text() == printed
    assert answer(lrps, "schema", "--markdown") == plan_markdown()
