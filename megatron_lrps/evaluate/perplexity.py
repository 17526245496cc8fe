"""Perplexity and bits per byte of a version on every validation set, by Megatron or by its export."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.manifest import damaged_sizes
from megatron_lrps.campaign.scores import Results, perplexity_of
from megatron_lrps.convert.helper_process import OFFLINE, ON_CPU, python_lines
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.data.fingerprint import fingerprint
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.data.prepare.encoders.spec import spec_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.token_bytes import byte_counter
from megatron_lrps.evaluate.validation_tokens import read_windows, sets_of


def measure(
    version: VersionCheckpoint,
    results: Results,
    *,
    engine: str,
    export: Path | None,
    limit: int | None,
    say: Callable[[str], None],
) -> None:
    """Add the perplexity on every set to the results. A set already measured in the same way is skipped.

    Args:
        version: The version.
        results: The results so far. They are written after each set, so that a stopped evaluation can go on.
        engine: ``export`` or ``megatron``.
        export: The folder of the export, for the engine ``export``.
        limit: The largest number of tokens of a set, or None.
        say: Called with a line for each step.

    Raises:
        RefusedError: a set, the export or the tokenizer is missing, or does not belong to the version.
        LrpsError: the engine could not compute; the error quotes its message.
        StorageError: the disk fails.
    """
    path = version.path
    sets, absent = sets_of(version.campaign.tree, version.campaign.tree.path(path))
    for name in absent:
        say(f"{name} is not there yet and is left out")
    spec = spec_of(version.campaign.plan)
    length = version.campaign.plan.sequence_length
    keys = {name: _key(prefix, engine, length, limit) for name, prefix in sets.items()}
    todo = {
        name: prefix
        for name, prefix in sets.items()
        if any(results.perplexity.get(name, {}).get(key) != value for key, value in keys[name].items())
    }
    if not todo:
        return
    if engine == "megatron" and (damage := damaged_sizes(version.checkpoint.folder)):
        raise RefusedError(
            f"{version.checkpoint.folder} is damaged: {damage[0]}.",
            "evaluate another checkpoint; lrps verify PLAN shows all that is damaged.",
        )
    folder = version.checkpoint.folder if engine == "megatron" else export
    assert folder is not None
    say(f"perplexity of {path} {version.iteration:,} on {', '.join(todo)}")
    for name, result in scored(todo, spec, folder, engine=engine, length=length, limit=limit):
        results.perplexity[name] = result
        results.write()


def scored(
    sets: Mapping[str, Path], spec: TokenizerSpec, folder: Path, *, engine: str, length: int, limit: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each set's name and result, as ``results.json`` has it, as soon as it is computed.

    Args:
        sets: Name -> index prefix.
        spec: The tokenizer, for the size of its vocabulary and the bytes of its tokens.
        folder: The export, or the checkpoint for the engine ``megatron``.
        engine: ``export`` or ``megatron``.
        length: The number of tokens in a window.
        limit: The largest number of tokens of a set, or None.

    Raises:
        RefusedError: a set cannot be read.
        LrpsError: the engine could not compute; the error quotes its message.
    """
    asked = {
        "engine": engine,
        "folder": str(folder.absolute()),
        "vocab": load_reference(spec).vocab_size,
        "length": length,
        "limit": limit,
        "sets": {name: str(prefix) for name, prefix in sets.items()},
    }
    counter = byte_counter(spec)
    counted = {
        name: counter.count(read_windows(prefix, length=length, limit=limit).tokens) if counter else None
        for name, prefix in sets.items()
    }
    arguments = ["-m", "megatron_lrps.evaluate.validation_loss"]
    env = {**OFFLINE, **(ON_CPU if engine == "megatron" else {})}
    for line in map(json.loads, python_lines(arguments, given=asked, env=env, failed=f"The {engine} engine failed")):
        name, loss = line["set"], line["loss_sum"] / line["tokens"]
        size = counted[name]
        yield (
            name,
            {
                "perplexity": _finite(perplexity_of(loss)),
                "loss": _finite(loss),
                "bits_per_byte": _finite(line["loss_sum"] / math.log(2) / size) if size else None,
                "bytes": size,
                "device": line["device"],
                "dtype": line["dtype"],
                **_key(sets[name], engine, length, limit),
                "tokens": line["tokens"],
            },
        )


def _key(prefix: Path, engine: str, length: int, limit: int | None) -> dict[str, Any]:
    """Return the settings that must agree for an older result to count."""
    known = fingerprint(prefix)
    return {
        "engine": engine,
        "length": length,
        "limit": limit,
        "idx_sha256": known.idx_sha256,
        "bin_sample_sha256": known.bin_sample_sha256,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
