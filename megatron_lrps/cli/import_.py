"""``lrps import``: a Hugging Face folder as a checkpoint that a main path starts from."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.cli.options import CheckOption
from megatron_lrps.cli.printing import print_logits_check, say
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import load_plan


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The Hugging Face folder.", show_default=False)],
    plan: Annotated[Path | None, typer.Option(help="The plan that will start from the checkpoint.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="The checkpoint to write; <save>/imports/FOLDER by default.")
    ] = None,
    check: CheckOption = None,
) -> None:
    """Make a checkpoint of a Hugging Face model. A main path can start from it."""
    if plan is None and output is None:
        raise RefusedError(
            "Neither --plan nor --output is given.", "give one of them, to say where the checkpoint goes."
        )
    target_plan = load_plan(plan) if plan else None
    target = output or (target_plan.folder if target_plan else Path()) / "imports" / folder.resolve().name
    from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION, plan_import, write_import
    from megatron_lrps.convert.logits_check import check_copy
    from megatron_lrps.convert.model_arguments import args_of
    from megatron_lrps.convert.model_flags import plan_lines, refuse_other_plan

    planned = plan_import(folder)
    model, where = planned.model, str(target.absolute())
    if target_plan is not None:
        refuse_other_plan(target_plan, model, where, str(folder))
    compared = None

    def verify(hidden: Path) -> None:
        nonlocal compared
        compared = check_copy(
            check,
            hidden / WITHOUT_ITERATION,
            folder,
            args_of(model),
            vocab=model.vocab,
            elements=planned.elements,
            name=target,
            say=say,
        )

    done = write_import(planned, target, verify=verify)
    typer.echo(f"{done.folder}: a {model.family} model, {done.bytes / 1e9:,.3f} GB, {done.rows:,} rows of words.")
    if planned.left_out:
        typer.echo(
            f"{len(planned.left_out):,} weights are left out, of layers that predict further tokens; the logits do not "
            "depend on them."
        )
    if compared is not None:
        print_logits_check(compared, by="transformers")
    typer.echo("In the plan, under `megatron:`")
    for line in plan_lines(model, where):
        typer.echo(f"  {line}")
    typer.echo(
        f"The {done.rows - model.vocab:,} rows of padding add nothing to the loss where make-vocab-size-divisible-by "
        f"times the tensor-parallel size divides {model.vocab:,}: none of them is loaded then."
    )
