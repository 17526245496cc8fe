"""The arguments and options that several commands share, with their help and what a shell completes for them."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.errors import LrpsError, RefusedError


def path_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the paths of the plan on the command line, for a shell's completion; none if that is not a plan."""
    from megatron_lrps.campaign.campaign import Campaign

    # While an option waits for its value, nothing has been parsed yet: the plan is the first word then.
    plan = context.params.get("plan") or next(iter(context.args), "")
    try:
        paths = Campaign.open(plan).paths
    except LrpsError:
        return []
    return [path.name for path in paths if path.name.startswith(incomplete)]


def _known_dtype(dtype: str | None) -> str | None:
    if dtype not in (None, "bf16", "fp32"):
        raise RefusedError(f"--dtype {dtype} is unknown.", "give bf16 or fp32, or leave it out to keep what was saved.")
    return dtype


PlanArgument = Annotated[
    Path, typer.Argument(metavar="PLAN", help="The plan file of the campaign.", show_default=False)
]
VersionArgument = Annotated[
    str,
    typer.Argument(
        metavar="VERSION", help="The name of a version or a path.", show_default=False, autocompletion=path_names
    ),
]
PathOption = Annotated[
    str | None, typer.Option("--path", help="The name of one path; all paths by default.", autocompletion=path_names)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; docs/json.md lists its keys.")]
IterationOption = Annotated[
    int | None, typer.Option(help="The iteration of the checkpoint; the end of the path by default.")
]
DtypeOption = Annotated[
    str | None, typer.Option(callback=_known_dtype, help="The number format, bf16 or fp32; as saved by default.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="ARGUMENT",
        help="hf: an argument of your own script, saved in the checkpoint, that does not change the forward pass.",
        show_default=False,
    ),
]
CheckOption = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        help="Compare logits, by Megatron and by transformers; by default where the model fits in memory.",
        show_default=False,
    ),
]
