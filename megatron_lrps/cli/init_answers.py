"""The answers to the questions of ``lrps init``: what each must be, and its result."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from megatron_lrps.data.prepare.find import SourceFile, find_sources
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.file_paths import absolute, written
from megatron_lrps.plan.first_plan import SIZES, Text
from megatron_lrps.plan.keys.values import count
from megatron_lrps.plan.load import parse_mapping

BYTES_A_TOKEN = 3
"""The approximate bytes of text per token."""
LEAST_ITERS = 20
"""The shortest version: with fewer iterations there is hardly a warm-up or a decay."""
MOST_EPOCHS = 4
"""The default of the plan's ``max_epochs``."""


class Found(NamedTuple):
    """Raw text: its name in the plan, and its files."""

    written: str
    files: tuple[SourceFile, ...]

    @property
    def bytes(self) -> int:
        """The approximate bytes of text: packed files hold some three times their size."""
        return sum(file.bytes * (3 if file.packing or file.kind == "parquet" else 1) for file in self.files)

    @property
    def text(self) -> Text:
        """The text for the draft: one long file of plain text is hardly one document."""
        plain = all(file.kind == "text" for file in self.files)
        return Text(files=self.written, documents=("paragraph" if len(self.files) == 1 else "file") if plain else None)


class Length(NamedTuple):
    """The length of each version: the plan's key and value, and the iterations that it comes to."""

    key: str
    value: str
    iters: int


def _text_named(folder: Path, given: str) -> Found:
    """Return the files that the user means, relative to the plan's folder if below it, else in full."""
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


def training_text(folder: Path, given: str) -> list[Found]:
    """Return the text of each version, from names as a shell has them; raises RefusedError."""
    try:
        names = shlex.split(given)
    except ValueError as error:
        raise RefusedError(f"{given!r}: {error}.", "close the quotation mark.") from None
    if not names:
        raise RefusedError("No text is named.", "name a file, a folder or a glob for each version.")
    found = [_text_named(folder, name) for name in names]
    seen: dict[Path, str] = {}
    for number, each in enumerate(found, 1):
        for file in each.files:
            if (before := seen.setdefault(file.path.resolve(), f"v{number}")) != f"v{number}":
                raise RefusedError(
                    f"{file.path} would be trained on in {before} and in v{number}.",
                    "give each version text of its own.",
                )
    return found


def held_out_text(folder: Path, train: Sequence[Found], given: str) -> Found:
    """Return the text to validate on; raises RefusedError if it is trained on too."""
    found = _text_named(folder, given)
    trained = {file.path.resolve() for each in train for file in each.files}
    if shared := [file.path for file in found.files if file.path.resolve() in trained]:
        raise RefusedError(
            f"{shared[0]} is among the text to train on, so the model would be validated on what it was trained on.",
            "hold out files of their own: move one out of the folder, or cut the end off a file "
            "(tail -n 1000 all.jsonl > valid.jsonl; head -n -1000 all.jsonl > train.jsonl).",
        )
    return found


def model_size_named(given: str, held_out: Found) -> str:
    """Return the name of a size that the held-out text is long enough for; raises RefusedError."""
    if given not in SIZES:
        raise RefusedError(f"There is no size {given!r}.", f"choose one of {', '.join(SIZES)}.")
    if held_out.bytes < (sample := SIZES[given].sequence_length * BYTES_A_TOKEN):
        raise RefusedError(
            f"{held_out.written} has {held_out.bytes:,} bytes of text, and one sample of size {given} some {sample:,}.",
            "hold out more, or choose a smaller size.",
        )
    return given


def proposed_length(size: str, train: Sequence[Found]) -> str:
    """Return the iterations that read the shortest version's text about once; empty if it is too short."""
    once = min(each.bytes for each in train) // BYTES_A_TOKEN // SIZES[size].tokens
    if MOST_EPOCHS * once < LEAST_ITERS:
        return ""
    return str(max(LEAST_ITERS, min(SIZES[size].max_iters, once)))


def length_of(size: str, train: Sequence[Found], given: str) -> Length:
    """Return the length that was given in iterations or tokens; raises RefusedError if the text is too short for it."""
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
