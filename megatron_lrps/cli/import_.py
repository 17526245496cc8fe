"""``lrps import``: a Hugging Face folder as a checkpoint that a main path starts from."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.cli.options import CheckOption
from megatron_lrps.cli.printing import print_logits_check, say
from megatron_lrps.convert.engines import engine_named
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import load_plan


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The Hugging Face folder.", show_default=False)],
    plan: Annotated[Path | None, typer.Option(help="The plan that will start from the checkpoint.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="The checkpoint to write; <save>/imports/FOLDER by default.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="lrps, or bridge (Megatron-Bridge, where it is installed); by default bridge for families that lrps "
            "lacks."
        ),
    ] = None,
    check: CheckOption = None,
) -> None:
    """Make a checkpoint of a Hugging Face model. A main path can start from it."""
    asked = engine_named(engine)
    if plan is None and output is None:
        raise RefusedError(
            "Neither --plan nor --output is given.", "give one of them, to say where the checkpoint goes."
        )
    target_plan = load_plan(plan) if plan else None
    target = output or (target_plan.folder if target_plan else Path()) / "imports" / folder.resolve().name
    from megatron_lrps.convert.bridge_import import engine_for, import_by_bridge
    from megatron_lrps.convert.checked_import import import_from_hugging_face

    by_bridge = engine_for(folder, asked, say=say) == "bridge"
    import_by = import_by_bridge if by_bridge else import_from_hugging_face
    done = import_by(folder, target, plan=target_plan, check=check, say=say)
    typer.echo(f"{target}: {done.words}, {done.bytes / 1e9:,.3f} GB, {done.rows:,} rows of words.")
    if done.left_out:
        typer.echo(
            f"{done.left_out:,} weights are left out, of layers that predict further tokens; the logits do not depend "
            "on them."
        )
    if done.compared is not None:
        print_logits_check(done.compared, by="transformers")
    typer.echo("In the plan, under `megatron:`")
    for line in done.lines:
        typer.echo(f"  {line}")
    typer.echo(
        f"The {done.rows - done.vocab:,} rows of padding add nothing to the loss where make-vocab-size-divisible-by "
        f"times the tensor-parallel size divides {done.vocab:,}: none of them is loaded then."
    )
