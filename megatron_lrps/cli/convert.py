"""``lrps export`` and ``lrps import``: checkpoints to and from Hugging Face folders."""

import json
from pathlib import Path

import typer

from megatron_lrps.convert.source import find_source
from megatron_lrps.errors import RefusedError


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
        typer.echo(
            f"Logits differ from Megatron's by at most {done.compared.difference:.2g} in fp32; "
            f"loss {done.compared.export_loss:.6f}, Megatron's {done.compared.megatron_loss:.6f}."
        )
