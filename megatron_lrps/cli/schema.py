"""``lrps schema``: the keys of a plan, for editors (JSON schema) and for readers (docs/plan.md)."""

import json
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.plan.json_schema import plan_schema
from megatron_lrps.plan.keys_page import plan_markdown
from megatron_lrps.storage.files import write_atomic


def schema(
    output: Annotated[Path | None, typer.Option(help="Write into this file instead of printing.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the page docs/plan.md instead.")] = False,
) -> None:
    """Print the keys of a plan as a JSON schema. Editors use it to check and complete plans."""
    text = plan_markdown() if markdown else schema_text()
    if output is None:
        typer.echo(text, nl=False)
        return
    write_atomic(output, text)
    typer.echo(f"{output}: every key of a plan.")


def schema_text() -> str:
    """The JSON schema as its file has it."""
    return json.dumps(plan_schema(), indent=1, ensure_ascii=False) + "\n"
