"""``lrps export``: a version's checkpoint as a Hugging Face folder, or as weights for Megatron."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from megatron_lrps.cli.options import (
    AllowOption,
    CheckOption,
    DtypeOption,
    IterationOption,
    JsonOption,
    PlanArgument,
    VersionArgument,
)
from megatron_lrps.cli.printing import print_json, print_logits_check, say
from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.errors import RefusedError

FORMATS = ("hf", "torch", "torch_dist")
"""The values of ``--format``."""
SHARD_GB = 5.0
"""The default of ``--shard-gb``."""


def export(
    plan: PlanArgument,
    version: VersionArgument,
    output: Annotated[Path | None, typer.Option(help="The folder to write; <save>/exports/VERSION by default.")] = None,
    iteration: IterationOption = None,
    dtype: DtypeOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="hf: how many files to write at a time; 1 by default.")
    ] = None,
    shard_gb: Annotated[
        float | None, typer.Option(min=0.001, help="hf: the size of the largest file in GB (10^9 bytes); 5 by default.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="hf, torch (one file), or torch_dist (for Megatron at another TP and PP).")
    ] = "hf",
    tensor: Annotated[
        int | None, typer.Option("--tensor-parallel", min=1, help="torch_dist: the tensor-parallel size; 1 by default.")
    ] = None,
    pipeline: Annotated[
        int | None,
        typer.Option("--pipeline-parallel", min=1, help="torch_dist: the pipeline-parallel size; 1 by default."),
    ] = None,
    allow: AllowOption = None,
    check: CheckOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a version to Hugging Face, or as Megatron weights."""
    _refuse_flags(form, tensor, pipeline, workers, shard_gb, check=check)
    found = find_version_checkpoint(plan, version, iteration)
    from megatron_lrps.convert.megatron_export import Layout  # torch comes with it
    from megatron_lrps.convert.version_export import export_to_hugging_face, export_to_megatron

    if form == "hf":
        done = export_to_hugging_face(
            found,
            output=output,
            dtype=dtype,
            workers=workers or 1,
            shard_bytes=int((shard_gb or SHARD_GB) * 10**9),
            allow=allow or (),
            check=check,
            say=say,
        )
    else:
        sizes = Layout(tensor or 1, pipeline or 1)
        kind: Literal["torch", "torch_dist"] = "torch" if form == "torch" else "torch_dist"
        done = export_to_megatron(found, kind, layout=sizes, output=output, dtype=dtype, check=check, say=say)
    if as_json:
        facts = {
            "folder": str(done.folder.absolute()),
            "made": done.written is not None,
            "weights": done.written._asdict() if done.written else None,
            "format": form,
            "tokenizer": (done.statement or None) if form == "hf" else None,
            "check": done.compared._asdict() if done.compared else None,
        }
        print_json(facts)
        return
    if weights := done.written:
        typer.echo(
            f"{done.folder}: {weights.tensors:,} weights, {weights.bytes / 1e9:,.3f} GB in {weights.files} files."
        )
    else:
        typer.echo(f"{done.folder} was there already, made from the same checkpoint.")
    if done.statement:
        typer.echo(done.statement)
    if done.compared is not None:
        print_logits_check(done.compared, by="transformers" if form == "hf" else "Megatron")


def _refuse_flags(
    form: str,
    tensor: int | None,
    pipeline: int | None,
    workers: int | None,
    shard_gb: float | None,
    *,
    check: bool | None,
) -> None:
    """Refuse options of another format than ``form``."""
    if form not in FORMATS:
        raise RefusedError(f"--format {form} is unknown.", f"give one of {', '.join(FORMATS)}.")
    only: dict[str, tuple[float | None, str]]
    only = {"--tensor-parallel": (tensor, "torch_dist"), "--pipeline-parallel": (pipeline, "torch_dist")}
    only |= {"--workers": (workers, "hf"), "--shard-gb": (shard_gb, "hf")}
    for flag, (value, of) in only.items():
        if value is not None and form != of:
            raise RefusedError(
                f"{flag} {value} does not apply to --format {form}.", f"leave it out, or give --format {of}."
            )
    if check and form == "torch":
        raise RefusedError(
            "--check does not apply to --format torch.", "leave it out, or give --format hf or torch_dist."
        )
