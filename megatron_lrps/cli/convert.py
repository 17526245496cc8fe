"""``lrps export`` and ``lrps import``: checkpoints to and from Hugging Face folders."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from megatron_lrps.convert.source import find_source
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import load_plan

if TYPE_CHECKING:
    from megatron_lrps.convert.check import Compared


def export_version(
    plan_file: Path,
    version: str,
    *,
    output: Path | None,
    iteration: int | None,
    dtype: str | None,
    workers: int,
    shard_gb: float,
    check: bool,
    as_json: bool,
) -> None:
    """Export a version, and print what came out."""
    if dtype not in (None, "bf16", "fp32"):
        raise RefusedError(f"--dtype {dtype} is unknown.", "give bf16 or fp32, or leave it out to keep what was saved.")
    source = find_source(plan_file, version, iteration)
    from megatron_lrps.convert.release import release  # torch comes with it

    done = release(
        source,
        output=output,
        dtype=dtype,
        workers=workers,
        shard_bytes=int(shard_gb * 10**9),
        check=check,
        say=lambda line: typer.echo(f"lrps: {line}", err=True),
    )
    if as_json:
        facts = {
            "folder": str(done.folder.absolute()),
            "made": done.fresh,
            "weights": done.written._asdict() if done.written else None,
            "tokenizer": done.statement or None,
            "check": done.compared._asdict() if done.compared else None,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    if done.written is not None:
        weights = done.written
        typer.echo(
            f"{done.folder}: {weights.tensors:,} weights, {weights.bytes / 1e9:,.3f} GB in {weights.files} files."
        )
        typer.echo(done.statement)
    else:
        typer.echo(f"{done.folder} was there already, made from the same checkpoint.")
    if done.compared is not None:
        _print_check(done.compared)


def import_folder(folder: Path, *, plan_file: Path | None, output: Path | None, check: bool) -> None:
    """Make a checkpoint of a Hugging Face folder, and print what a plan needs to start from it."""
    if plan_file is None and output is None:
        raise RefusedError("Neither --plan nor --output is given.", "give one: where is the checkpoint to go?")
    plan = load_plan(plan_file) if plan_file else None
    target = output or (plan.folder if plan else Path()) / "imports" / folder.resolve().name
    from megatron_lrps.convert.flags import plan_lines, refuse_other_plan
    from megatron_lrps.convert.imports import RELEASE, plan_import, write_import

    planned = plan_import(folder)
    model, where = planned.model, str(target.absolute())
    if plan is not None:
        refuse_other_plan(plan, model, where, str(folder))
    done = write_import(planned, target)
    typer.echo(f"{done.folder}: a {model.family} model, {done.bytes / 1e9:,.3f} GB, {done.rows:,} rows of words.")
    if check:
        from megatron_lrps.convert.check import compare_logits, probe_tokens

        tokens = probe_tokens(model.vocab, model.positions)
        _print_check(compare_logits(target / RELEASE, folder, tokens, vocab=model.vocab, dtype=None))
    typer.echo("In the plan, under `megatron:`")
    for line in plan_lines(model, where):
        typer.echo(f"  {line}")
    typer.echo(
        f"The {done.rows - model.vocab:,} rows of padding add nothing to the loss where make-vocab-size-divisible-by "
        f"times the tensor-parallel size divides {model.vocab:,}: none of them is loaded then."
    )


def _print_check(compared: "Compared") -> None:
    typer.echo(
        f"Logits differ by at most {compared.difference:.2g} in fp32; loss {compared.export_loss:.6f} by transformers, "
        f"{compared.megatron_loss:.6f} by Megatron."
    )
