"""The commands that a campaign begins with: a plan, and what its keys mean. Registered beside those of ``app.py``."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.errors import RefusedError

beginning = typer.Typer()


@beginning.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the plan goes.")] = Path(),
    text: Annotated[
        list[str] | None,
        typer.Option(help="Raw text of a version: a file, folder or glob; again for the next.", show_default=False),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="Text to validate on, held out.", show_default=False)] = None,
    size: Annotated[str | None, typer.Option(help="tiny, 125m or 1b.", show_default=False)] = None,
    iters: Annotated[
        int | None, typer.Option(min=1, help="Iterations of each version; about one pass over its text by default.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="Or its tokens, such as 2B.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="The campaign's; the folder's by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or gpu; what this machine has by default.")] = None,
) -> None:
    """Write the first plan of a campaign, commented: asks four questions, or takes these options."""
    from megatron_lrps.cli.init import init_plan

    if iters is not None and tokens is not None:
        raise RefusedError(f"--iters {iters} and --tokens {tokens} are both given.", "give one of them.")
    length = f"{tokens} tokens" if tokens is not None else None if iters is None else str(iters)
    init_plan(folder, name=name, text=text or (), valid=valid, size=size, length=length, device=device)


@beginning.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="The file; printed without it.", show_default=False)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/plan.md.")] = False,
) -> None:
    """Say which keys a plan may have, as a JSON schema that editors check and complete plans by."""
    from megatron_lrps.cli.schema import write_schema

    write_schema(output, markdown=markdown)
