"""``lrps export``: a version's checkpoint as a Hugging Face folder, or as weights for Megatron."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from megatron_lrps.cli.options import (
    AllowOption,
    CheckOption,
    DtypeOption,
    IterationOption,
    JsonOption,
    path_names,
)
from megatron_lrps.cli.printing import print_json, print_logits_check, say
from megatron_lrps.convert.engines import Engine, engine_named
from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.wording import counted

FORMATS = ("hf", "torch", "torch_dist")
"""The values of ``--format``."""
SHARD_GB = 5.0
"""The default of ``--shard-gb``."""


def export(
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN", help="The plan file.", show_default=False)] = None,
    version: Annotated[
        str | None,
        typer.Argument(metavar="VERSION", help="A version or a path.", show_default=False, autocompletion=path_names),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of PLAN and VERSION: any torch_dist checkpoint, or Megatron's --save folder.",
            show_default=False,
        ),
    ] = None,
    vocab_size: Annotated[
        int | None,
        typer.Option(min=1, help="With --checkpoint: the number of tokens, if its tokenizer is not here."),
    ] = None,
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
        str, typer.Option("--format", help="hf, torch (one file), or torch_dist (for Megatron in another layout).")
    ] = "hf",
    tensor: Annotated[
        int | None, typer.Option("--tensor-parallel", min=1, help="torch_dist: the tensor-parallel size; 1 by default.")
    ] = None,
    pipeline: Annotated[
        int | None,
        typer.Option("--pipeline-parallel", min=1, help="torch_dist: the pipeline-parallel size; 1 by default."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(help="hf: the family, where the model fits another one too; docs/convert.md lists them."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="hf: lrps, or bridge (Megatron-Bridge, where it is installed); by default bridge for what lrps lacks."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="hf: for bridge, a folder with the config.json of the model.", show_default=False
        ),
    ] = None,
    expert: Annotated[
        int | None, typer.Option("--expert-parallel", min=1, help="torch_dist: the expert-parallel size; 1 by default.")
    ] = None,
    expert_tensor: Annotated[
        int | None,
        typer.Option(
            "--expert-tensor-parallel", min=1, help="torch_dist: that of experts; the tensor-parallel size by default."
        ),
    ] = None,
    allow: AllowOption = None,
    check: CheckOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a version to Hugging Face, or as Megatron weights."""
    of_dist = {"--tensor-parallel": tensor, "--pipeline-parallel": pipeline}
    of_dist |= {"--expert-parallel": expert, "--expert-tensor-parallel": expert_tensor}
    of_hf: dict[str, float | str | Path | None] = {"--workers": workers, "--shard-gb": shard_gb, "--family": family}
    of_hf |= {"--engine": engine, "--reference": reference}
    _refuse_flags(form, of_dist, of_hf, check=check)
    asked = _engine(engine, {"--workers": workers, "--family": family})
    of_bridge = form == "hf" and asked != "lrps"
    place = _source_options(plan, version, checkpoint, vocab_size, output)
    found = find_version_checkpoint(*place, iteration) if place else None
    from megatron_lrps.convert.bridge_export import engine_for, export_by_bridge
    from megatron_lrps.convert.export_source import source_of_checkpoint, source_of_version
    from megatron_lrps.convert.layout import Layout
    from megatron_lrps.convert.version_export import export_to_hugging_face, export_to_megatron

    if found is not None:
        source = source_of_version(found, of_bridge=of_bridge)
    else:
        assert checkpoint is not None
        assert output is not None
        source = source_of_checkpoint(checkpoint, output, iteration=iteration, vocab=vocab_size, of_bridge=of_bridge)
    by = engine_for(source, asked, reference, allow=allow or (), family=family, say=say) if form == "hf" else "lrps"
    shard_bytes = int((shard_gb or SHARD_GB) * 10**9)
    if by == "bridge":
        assert reference is not None
        done = export_by_bridge(
            source,
            reference,
            output=output,
            dtype=dtype,
            shard_bytes=shard_bytes,
            allow=allow or (),
            check=check,
            say=say,
        )
    elif form == "hf":
        done = export_to_hugging_face(
            source,
            output=output,
            dtype=dtype,
            workers=workers or 1,
            shard_bytes=shard_bytes,
            allow=allow or (),
            family=family,
            check=check,
            say=say,
        )
    else:
        sizes = Layout(tensor=tensor or 1, pipeline=pipeline or 1, expert=expert or 1, expert_tensor=expert_tensor)
        kind: Literal["torch", "torch_dist"] = "torch" if form == "torch" else "torch_dist"
        done = export_to_megatron(source, kind, layout=sizes, output=output, dtype=dtype, check=check, say=say)
    if as_json:
        facts = {
            "folder": str(done.folder.absolute()),
            "made": done.written is not None,
            "weights": done.written._asdict() if done.written else None,
            "format": form,
            "engine": by,
            "tokenizer": (done.statement or None) if form == "hf" else None,
            "check": done.compared._asdict() if done.compared else None,
        }
        print_json(facts)
        return
    if weights := done.written:
        typer.echo(
            f"{done.folder}: {weights.tensors:,} weights, {weights.bytes / 1e9:,.3f} GB in "
            f"{counted(weights.files, 'file')}."
        )
    else:
        typer.echo(f"{done.folder} was there already, made from the same checkpoint.")
    if done.statement:
        typer.echo(done.statement)
    if done.compared is not None:
        print_logits_check(done.compared, by="transformers" if form == "hf" else "Megatron")


def _source_options(
    plan: Path | None, version: str | None, checkpoint: Path | None, vocab_size: int | None, output: Path | None
) -> tuple[Path, str] | None:
    """Return plan and version, or None if a checkpoint is given instead; refuse what does not go together."""
    if checkpoint is None:
        if plan is None or version is None:
            raise RefusedError(
                "PLAN and VERSION are missing.",
                "give both, or --checkpoint DIR --output DIR for a checkpoint without a plan.",
            )
        if vocab_size is not None:
            raise RefusedError(
                f"--vocab-size {vocab_size} does not apply to a plan, whose tokenizer says it.", "leave it out."
            )
        return plan, version
    if plan is not None or version is not None:
        raise RefusedError(f"Both --checkpoint {checkpoint} and a plan ({plan}) are given.", "give one of them.")
    if output is None:
        raise RefusedError("--checkpoint needs --output.", "say which folder to write.")
    return None


def _engine(name: str | None, of_lrps: Mapping[str, float | str | None]) -> Engine | None:
    """Return the asked engine; refuse an unknown one, and options that only ``lrps`` has."""
    engine = engine_named(name)
    for flag, value in of_lrps.items():
        if value is not None and engine == "bridge":
            raise RefusedError(f"{flag} {value} does not apply to --engine bridge.", "leave it out.")
    return engine


def _refuse_flags(
    form: str, of_dist: Mapping[str, int | None], of_hf: Mapping[str, float | str | Path | None], *, check: bool | None
) -> None:
    """Refuse options of another format than ``form``."""
    if form not in FORMATS:
        raise RefusedError(f"--format {form} is unknown.", f"give one of {', '.join(FORMATS)}.")
    only = [("torch_dist", *given) for given in of_dist.items()] + [("hf", *given) for given in of_hf.items()]
    for of, flag, value in only:
        if value is not None and form != of:
            raise RefusedError(
                f"{flag} {value} does not apply to --format {form}.", f"leave it out, or give --format {of}."
            )
    if check and form == "torch":
        raise RefusedError(
            "--check does not apply to --format torch.", "leave it out, or give --format hf or torch_dist."
        )
