"""The commands that a campaign begins with: a plan, and what its keys mean. Registered beside those of ``app.py``."""

from pathlib import Path
from typing import Annotated

import typer

beginning = typer.Typer()


@beginning.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="The file; printed without it.", show_default=False)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/plan.md.")] = False,
) -> None:
    """Say which keys a plan may have, as a JSON schema that editors check and complete plans by."""
    from megatron_lrps.cli.schema import write_schema

    write_schema(output, markdown=markdown)
