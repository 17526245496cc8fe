"""``lrps schema``: the keys of a plan, for editors (JSON schema) and for readers (docs/plan.md)."""

import json
from pathlib import Path

import typer

from megatron_lrps.plan.json_schema import plan_schema
from megatron_lrps.plan.keys_page import plan_markdown
from megatron_lrps.storage.files import write_atomic


def write_schema(output: Path | None, *, markdown: bool) -> None:
    """Print it, or write it into a file; raises StorageError."""
    text = plan_markdown() if markdown else schema_text()
    if output is None:
        typer.echo(text, nl=False)
        return
    write_atomic(output, text)
    typer.echo(f"{output}: every key of a plan.")


def schema_text() -> str:
    """The JSON schema as its file has it."""
    return json.dumps(plan_schema(), indent=1, ensure_ascii=False) + "\n"
