"""``lrps init``: the first plan of a campaign, from four answers or flags."""

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from megatron_lrps.cli.schema import schema_text
from megatron_lrps.data.prepare.find import SourceFile, find_sources
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.file_paths import absolute, written
from megatron_lrps.plan.first_plan import SCHEMA_FILE, SIZES, Draft, Text, draft_text
from megatron_lrps.plan.keys.values import count, plain_name
from megatron_lrps.plan.load import parse_mapping
from megatron_lrps.storage.files import write_atomic

BYTES_A_TOKEN = 3
"""Of text, about."""
LEAST_ITERS = 20
"""Of a version: with fewer there is hardly a warm-up or a decay."""
MOST_EPOCHS = 4
"""The default of the plan's ``max_epochs``."""
BYTES_A_PIECE = 60
"""Of text for each piece of a vocabulary: with less, sentencepiece does not find as many."""


class Found(NamedTuple):
    """Raw text: as the plan is to name it, and the files that this means."""

    written: str
    files: tuple[SourceFile, ...]

    @property
    def bytes(self) -> int:
        """Of text, about: packed files hold some three times their size."""
        return sum(file.bytes * (3 if file.packing or file.kind == "parquet" else 1) for file in self.files)

    @property
    def text(self) -> Text:
        """As the draft takes it: one long file of plain text is hardly one document."""
        plain = all(file.kind == "text" for file in self.files)
        return Text(files=self.written, documents=("paragraph" if len(self.files) == 1 else "file") if plain else None)


class Length(NamedTuple):
    """Of each version: the plan's key and value, and what it comes to in iterations."""

    key: str
    value: str
    iters: int


def init_plan(
    folder: Path,
    *,
    name: str | None,
    text: Sequence[str],
    valid: str | None,
    size: str | None,
    length: str | None,
    device: str | None,
) -> None:
    """Write ``plan.yaml`` and its schema into a folder; what is not given is asked for where there is a terminal.

    Args:
        folder: Made where it is missing.
        name: The campaign's; the folder's by default.
        text: Of each version: a file, a folder or a glob.
        valid: What is held out.
        size: One of ``SIZES``.
        length: Of each version, such as ``500`` (iterations) or ``2B tokens``.
        device: Where it is to train.

    Raises:
        RefusedError: there is a plan already; an answer cannot be, or is missing and there is nobody to ask.
        StorageError: a file could not be written.
    """
    file, schema = folder / "plan.yaml", folder / SCHEMA_FILE
    if file.exists():
        raise RefusedError(f"{file} is there already.", "name another folder, or change that plan by hand.")
    if schema.exists() and schema.read_text(encoding="utf-8", errors="replace") != schema_text():
        raise RefusedError(f"{schema} is there already, and is not this version's.", "remove it, or move it away.")
    name = _name(folder, name)
    train = _answer(
        "Text to train on, for each version a file, folder or glob (with a space between)",
        shlex.join(text) or None,
        shlex.join(_usual(folder, "v[0-9]*")),
        lambda given: _training(folder, given),
        "--text, once for each version, such as --text raw/v1 --text raw/v2",
    )
    held_out = _answer(
        "Text to validate on, held out from training",
        valid,
        next(iter(_usual(folder, "valid*")), ""),
        lambda given: _held_out(folder, train, given),
        "--valid, a file, folder or glob of text that is not trained on",
    )
    gpus = _gpus()
    choices = "".join(f"\n  {key}: {each.about}" for key, each in SIZES.items())
    chosen = _answer(
        f"Size of the model{choices}\nSize",
        size,
        "125m" if gpus else "tiny",
        lambda given: _size(given, held_out),
        "--size",
    )
    its = _answer(
        f"Length of each version, in iterations of {SIZES[chosen].tokens:,} tokens (or such as `2B tokens`)",
        length,
        _proposed(chosen, train),
        lambda given: _length(chosen, train, given),
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
    raise RefusedError(f"{question.partition(',')[0]}: not given, and there is nobody to ask.", f"give {flag}.")


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


def _found(folder: Path, given: str) -> Found:
    """The files that the user means; relative to the plan's folder where they are below it, else in full."""
    base = folder.resolve()
    try:
        name = written(absolute(given, Path.cwd()), base)
    except ValueError as error:
        what, _, fix = str(error).partition("; ")
        raise RefusedError(f"{given!r} {what}.", f"{fix}.") from None
    version = {"name": "v1", "iters": 1, "train": [[1.0, "data/v1"]], "sources": {"data/v1": name}}
    keys = {"campaign": "c", "save": "c", "sequence_length": 1, "global_batch_size": 1, "versions": [version]}
    [source] = find_sources(parse_mapping(keys, base=base))
    return Found(name, source.files)


def _training(folder: Path, given: str) -> list[Found]:
    try:
        names = shlex.split(given)
    except ValueError as error:
        raise RefusedError(f"{given!r}: {error}.", "close the quotation.") from None
    if not names:
        raise RefusedError("No text is named.", "name a file, a folder or a glob for each version.")
    found = [_found(folder, name) for name in names]
    seen: dict[Path, str] = {}
    for number, each in enumerate(found, 1):
        for file in each.files:
            if (before := seen.setdefault(file.path.resolve(), f"v{number}")) != f"v{number}":
                raise RefusedError(
                    f"{file.path} would be trained on in {before} and in v{number}.",
                    "give each version text of its own.",
                )
    return found


def _held_out(folder: Path, train: Sequence[Found], given: str) -> Found:
    found = _found(folder, given)
    trained = {file.path.resolve() for each in train for file in each.files}
    if shared := [file.path for file in found.files if file.path.resolve() in trained]:
        raise RefusedError(
            f"{shared[0]} is among the text to train on, so the model would be validated on what it was trained on.",
            "hold out files of their own: move one out of the folder, or cut the end off a file "
            "(tail -n 1000 all.jsonl > valid.jsonl; head -n -1000 all.jsonl > train.jsonl).",
        )
    return found


def _size(given: str, held_out: Found) -> str:
    if given not in SIZES:
        raise RefusedError(f"There is no size {given!r}.", f"choose one of {', '.join(SIZES)}.")
    if held_out.bytes < (sample := SIZES[given].sequence_length * BYTES_A_TOKEN):
        raise RefusedError(
            f"{held_out.written} has {held_out.bytes:,} bytes of text, and one sample of size {given} some {sample:,}.",
            "hold out more, or choose a smaller size.",
        )
    return given


def _proposed(size: str, train: Sequence[Found]) -> str:
    """Iterations that read the shortest version's text about once; empty where there is too little."""
    once = min(each.bytes for each in train) // BYTES_A_TOKEN // SIZES[size].tokens
    if MOST_EPOCHS * once < LEAST_ITERS:
        return ""
    return str(max(LEAST_ITERS, min(SIZES[size].max_iters, once)))


def _length(size: str, train: Sequence[Found], given: str) -> Length:
    number, tokens = given.strip().removesuffix("tokens").removesuffix("iterations").strip(), SIZES[size].tokens
    in_tokens = given.strip().endswith("tokens")
    try:
        whole = count(number)
    except ValueError as error:
        raise RefusedError(f"{given!r} {str(error).partition(';')[0]}.", "give 500, or 2B tokens.") from None
    iters = whole // tokens if in_tokens else whole
    if iters < LEAST_ITERS:
        raise RefusedError(
            f"{given} is {iters} iterations of {tokens:,} tokens, and a version has {LEAST_ITERS} at least.",
            "make it longer, or choose a smaller size.",
        )
    least = min(train, key=lambda each: each.bytes)
    # By a generous count of what the text holds: `lrps run` counts exactly, and refuses what this lets through.
    if iters * tokens > MOST_EPOCHS * least.bytes // 2:
        raise RefusedError(
            f"{iters:,} iterations read {iters * tokens:,} tokens, and {least.written} has {least.bytes:,} bytes of "
            f"text: it would be read more than {MOST_EPOCHS} times.",
            "give more text, a smaller size, or fewer iterations.",
        )
    return Length("tokens" if in_tokens else "iters", number, iters)


def _gpus() -> int:
    """NVIDIA GPUs of this machine; torch would take seconds to say so."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
        return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0
    return 0


def _device(given: str | None, size: str, gpus: int) -> tuple[str, str]:
    """Where it trains, and why, as a comment."""
    if given not in (None, "cpu", "gpu"):
        raise RefusedError(f"--device {given!r} is none.", "give cpu or gpu.")
    if given is not None:
        return given, f"`{given}` was asked for (--device)."
    if gpus:
        return "gpu", f"This machine has {gpus} {'GPU' if gpus == 1 else 'GPUs'}."
    if size == "tiny":
        return "cpu", (
            "This machine has no GPU, so Megatron's own code runs on the CPU, over gloo. Where there is a GPU that is "
            "refused: write `device: gpu` there."
        )
    return "gpu", f"The size {size} is for GPUs, and this machine has none: train it on one that has."
