"""``lrps init``: the first plan of a campaign, from four answers or options.

What is not given is asked for at a terminal; without a terminal the usual answer is taken, if there is one.
"""

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.cli.init_answers import held_out_text, length_of, model_size_named, proposed_length, training_text
from megatron_lrps.cli.schema import schema_text
from megatron_lrps.data.prepare.find import find_sources
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.file_paths import written
from megatron_lrps.plan.first_plan import SCHEMA_FILE, SIZES, Draft, draft_text
from megatron_lrps.plan.keys.values import plain_name
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.wording import counted

BYTES_A_PIECE = 60
"""The least text for each piece of a vocabulary: with less, sentencepiece does not find as many."""


def init(
    folder: Annotated[Path, typer.Argument(help="The folder for the plan.")] = Path(),
    text: Annotated[
        list[str] | None,
        typer.Option(help="The raw text of a version: a file, folder or glob; give it again for the next version."),
    ] = None,
    valid: Annotated[str | None, typer.Option(help="The held-out text to validate on: a file, folder or glob.")] = None,
    size: Annotated[str | None, typer.Option(help="The size of the model: tiny, 125m or 1b.")] = None,
    iters: Annotated[
        int | None, typer.Option(min=1, help="Iterations of each version; about one pass over its text by default.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="Tokens of each version, such as 2B, instead of --iters.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of the campaign; the folder's name by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or gpu; what this machine has by default.")] = None,
) -> None:
    """Write the first plan of a campaign, with comments.

    It asks four questions, or takes the answers from these options.
    """
    if iters is not None and tokens is not None:
        raise RefusedError(f"--iters {iters} and --tokens {tokens} are both given.", "give one of them.")
    length = f"{tokens} tokens" if tokens is not None else None if iters is None else str(iters)
    file, schema = folder / "plan.yaml", folder / SCHEMA_FILE
    if file.exists():
        raise RefusedError(f"{file} exists already.", "name another folder, or change that plan by hand.")
    if schema.exists() and schema.read_text(encoding="utf-8", errors="replace") != schema_text():
        raise RefusedError(
            f"{schema} exists already, and another version of lrps wrote it.", "remove it, or move it away."
        )
    name = _name(folder, name)
    train = _answer(
        "Text to train on, for each version a file, folder or glob (with a space between)",
        shlex.join(text or ()) or None,
        shlex.join(_usual(folder, "v[0-9]*")),
        lambda given: training_text(folder, given),
        "--text, once for each version, such as --text raw/v1 --text raw/v2",
    )
    held_out = _answer(
        "Text to validate on, held out from training",
        valid,
        next(iter(_usual(folder, "valid*")), ""),
        lambda given: held_out_text(folder, train, given),
        "--valid, a file, folder or glob of text that is not trained on",
    )
    gpus = _gpus()
    choices = "".join(f"\n  {key}: {each.about}" for key, each in SIZES.items())
    chosen = _answer(
        f"Size of the model{choices}\nSize",
        size,
        "125m" if gpus else "tiny",
        lambda given: model_size_named(given, held_out),
        "--size",
    )
    its = _answer(
        f"Length of each version, in iterations of {SIZES[chosen].tokens:,} tokens (or such as `2B tokens`)",
        length,
        proposed_length(chosen, train),
        lambda given: length_of(chosen, train, given),
        "--iters or --tokens",
    )
    where, why = _device(device, chosen, gpus)
    enough = min(each.bytes for each in train) * len(train) // BYTES_A_PIECE
    plan = draft_text(
        Draft(
            name=name,
            train=tuple(each.text for each in train),
            valid=held_out.text,
            size=chosen,
            vocab_size=max(320, min(SIZES[chosen].vocab_size, enough // 64 * 64)),
            length=(its.key, its.value),
            iters=its.iters,
            device=where,
            why=why,
            # A power of two divides every size's batch.
            processes=1 if where == "cpu" else 1 << (max(1, gpus).bit_length() - 1),
        )
    )
    # Whatever a path of the user's holds: the plan must say what was meant before it is written.
    read = parse_plan(plan, base=folder.resolve(), name=str(file))
    expand(read)
    find_sources(read)
    write_atomic(schema, schema_text())
    write_atomic(file, plan)
    typer.echo(f"{file}: campaign {name} with {', '.join(version.name for version in read.versions)}. {why}")
    shown = shlex.quote(str(file))
    typer.echo(f"Next: lrps prepare {shown} && lrps plan {shown} && lrps run {shown}")


def _answer[T](question: str, given: str | None, usual: str, check: Callable[[str], T], flag: str) -> T:
    """What was given, or what is answered at a terminal (asked again until it can be), or what is usual."""
    if given is not None:
        return check(given)
    if sys.stdin.isatty():
        while True:
            try:
                return check(typer.prompt(question, default=usual or None))
            except RefusedError as error:
                typer.echo(str(error), err=True)
    if usual:
        return check(usual)
    raise RefusedError(
        f"{question.partition(',')[0]}: this is not given, and there is no terminal to ask at.", f"give {flag}."
    )


def _name(folder: Path, given: str | None) -> str:
    if given is None:
        given = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("._-") or "campaign"
    try:
        return plain_name(given)
    except ValueError as error:
        what, _, fix = str(error).partition("; ")
        raise RefusedError(f"--name {given!r} {what}.", f"{fix}.") from None


def _usual(folder: Path, pattern: str) -> list[str]:
    """What lies in the folder's ``raw/`` under the usual names, v2 before v10."""
    found = (folder / "raw").glob(pattern)
    return [written(path) for path in sorted(found, key=lambda path: (len(path.name.partition(".")[0]), path.name))]


def _gpus() -> int:
    """NVIDIA GPUs of this machine; torch would take seconds to say so."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
        return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return 0


def _device(given: str | None, size: str, gpus: int) -> tuple[str, str]:
    """Where it trains, and why, as a comment."""
    if given not in (None, "cpu", "gpu"):
        raise RefusedError(f"--device {given!r} is unknown.", "give cpu or gpu.")
    if given is not None:
        return given, f"`{given}` was asked for (--device)."
    if gpus:
        return "gpu", f"This machine has {counted(gpus, 'GPU')}."
    if size == "tiny":
        return "cpu", (
            "This machine has no GPU, so Megatron's own code runs on the CPU, over gloo. Where there is a GPU that is "
            "refused: write `device: gpu` there."
        )
    return "gpu", f"The size {size} is for GPUs, and this machine has none: train it on one that has."
