"""``lrps export`` and ``lrps import``: checkpoints to and from Hugging Face folders, and to Megatron's formats."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import load_plan

FORMATS = ("hf", "torch", "torch_dist")
"""``--format``."""
SHARD_GB = 5.0
"""``--shard-gb`` by default."""

if TYPE_CHECKING:
    from megatron_lrps.convert.logits_check import Compared


def export_version(
    plan_file: Path,
    version: str,
    *,
    form: str,
    layout: tuple[int | None, int | None],
    output: Path | None,
    iteration: int | None,
    dtype: str | None,
    workers: int | None,
    shard_gb: float | None,
    check: bool,
    as_json: bool,
) -> None:
    """Export a version, and print what came out."""
    refuse_unknown_dtype(dtype)
    _refuse_flags(form, layout, workers, shard_gb, check=check)
    source = find_version_checkpoint(plan_file, version, iteration)
    from megatron_lrps.convert.megatron_export import Layout  # torch comes with it
    from megatron_lrps.convert.version_export import export_to_hugging_face, export_to_megatron

    if form == "hf":
        done = export_to_hugging_face(
            source,
            output=output,
            dtype=dtype,
            workers=workers or 1,
            shard_bytes=int((shard_gb or SHARD_GB) * 10**9),
            check=check,
            say=say,
        )
    else:
        sizes = Layout(*(size or 1 for size in layout))
        kind: Literal["torch", "torch_dist"] = "torch" if form == "torch" else "torch_dist"
        done = export_to_megatron(source, kind, layout=sizes, output=output, dtype=dtype, check=check, say=say)
    if as_json:
        facts = {
            "folder": str(done.folder.absolute()),
            "made": done.fresh,
            "weights": done.written._asdict() if done.written else None,
            "format": form,
            "tokenizer": (done.statement or None) if form == "hf" else None,
            "check": done.compared._asdict() if done.compared else None,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    if done.written is not None:
        weights = done.written
        typer.echo(
            f"{done.folder}: {weights.tensors:,} weights, {weights.bytes / 1e9:,.3f} GB in {weights.files} files."
        )
    else:
        typer.echo(f"{done.folder} was there already, made from the same checkpoint.")
    if done.statement:
        typer.echo(done.statement)
    if done.compared is not None:
        _print_check(done.compared, by="transformers" if form == "hf" else "Megatron")


def import_folder(folder: Path, *, plan_file: Path | None, output: Path | None, check: bool) -> None:
    """Make a checkpoint of a Hugging Face folder, and print what a plan needs to start from it."""
    if plan_file is None and output is None:
        raise RefusedError("Neither --plan nor --output is given.", "give one: where is the checkpoint to go?")
    plan = load_plan(plan_file) if plan_file else None
    target = output or (plan.folder if plan else Path()) / "imports" / folder.resolve().name
    from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION, plan_import, write_import
    from megatron_lrps.convert.model_flags import plan_lines, refuse_other_plan

    planned = plan_import(folder)
    model, where = planned.model, str(target.absolute())
    if plan is not None:
        refuse_other_plan(plan, model, where, str(folder))
    done = write_import(planned, target)
    typer.echo(f"{done.folder}: a {model.family} model, {done.bytes / 1e9:,.3f} GB, {done.rows:,} rows of words.")
    if check:
        from megatron_lrps.convert.logits_check import compare_logits, probe_tokens

        tokens = probe_tokens(model.vocab, model.positions)
        _print_check(
            compare_logits(target / WITHOUT_ITERATION, folder, tokens, vocab=model.vocab, dtype=None), by="transformers"
        )
    typer.echo("In the plan, under `megatron:`")
    for line in plan_lines(model, where):
        typer.echo(f"  {line}")
    typer.echo(
        f"The {done.rows - model.vocab:,} rows of padding add nothing to the loss where make-vocab-size-divisible-by "
        f"times the tensor-parallel size divides {model.vocab:,}: none of them is loaded then."
    )


def refuse_unknown_dtype(dtype: str | None) -> None:
    """Refuse a ``--dtype`` that is none."""
    if dtype not in (None, "bf16", "fp32"):
        raise RefusedError(f"--dtype {dtype} is unknown.", "give bf16 or fp32, or leave it out to keep what was saved.")


def say(line: str) -> None:
    """What goes on, beside what is printed."""
    typer.echo(f"lrps: {line}", err=True)


def _refuse_flags(
    form: str, layout: tuple[int | None, int | None], workers: int | None, shard_gb: float | None, *, check: bool
) -> None:
    """Refuse what another format than ``form`` has."""
    if form not in FORMATS:
        raise RefusedError(f"--format {form} is unknown.", f"give {', '.join(FORMATS)}.")
    only = {"--tensor-parallel": (layout[0], "torch_dist"), "--pipeline-parallel": (layout[1], "torch_dist")}
    only |= {"--workers": (workers, "hf")}
    for flag, (value, of) in only.items():
        if value is not None and form != of:
            raise RefusedError(f"{flag} {value} is given, and --format is {form}.", f"it is for {of}: drop it.")
    if shard_gb is not None and form != "hf":
        raise RefusedError(f"--shard-gb {shard_gb} is given, and --format is {form}.", "it is for hf: drop it.")
    if check and form == "torch":
        raise RefusedError("--check is given, and --format is torch.", "check --format torch_dist or hf.")


def _print_check(compared: "Compared", *, by: str) -> None:
    if by == "transformers":
        losses = f"loss {compared.export_loss:.6f} by transformers, {compared.megatron_loss:.6f} by Megatron"
    else:
        losses = f"loss {compared.export_loss:.6f}, {compared.megatron_loss:.6f} before"
    typer.echo(f"Logits differ by at most {compared.difference:.2g} in fp32; {losses}.")
