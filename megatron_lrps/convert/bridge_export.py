"""An export through Megatron-Bridge: for models that no family here has, and for what Bridge's own loop has trained.

Bridge needs the config.json of the model. Its provider for it is compared with what the checkpoint says before anything
is written; then ``bridge_worker.py`` writes the weights, and everything else is as in the other exports.
"""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from megatron_lrps.convert import engines
from megatron_lrps.convert.bridge_task import run_worker
from megatron_lrps.convert.engines import Engine
from megatron_lrps.convert.export_source import ExportSource
from megatron_lrps.convert.forward_arguments import not_computed, refuse_unknown_arguments
from megatron_lrps.convert.huggingface_export import DTYPES, IGNORED, SHARD_BYTES, Exported
from megatron_lrps.convert.logits_check import Compared, check_copy, check_loading
from megatron_lrps.convert.mapping import elements
from megatron_lrps.convert.model_arguments import model_of_args
from megatron_lrps.convert.safetensors import dtype_name
from megatron_lrps.convert.staging import refuse_full_disk, staged
from megatron_lrps.convert.torch_dist import saved_by_bridge
from megatron_lrps.convert.version_export import (
    RECORD,
    ExportedVersion,
    made_once,
    write_around,
    write_record,
)
from megatron_lrps.convert.weight_files import read_config
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import read_json

ENGINE: Engine = "bridge"
"""The value of ``engine`` in the record of such an export."""
_LEFT_OUT = ("_name_or_path", "auto_map", "transformers_version", "torch_dtype", "dtype")
"""Keys of the reference that say nothing of the export."""
_POSITIONS = ("max_position_embeddings", "n_positions", "seq_length")


def engine_for(
    source: ExportSource,
    asked: Engine | None,
    reference: Path | None,
    *,
    allow: Collection[str] = (),
    family: str | None = None,
    say: Callable[[str], None],
) -> Engine:
    """Return the engine of a Hugging Face export: the asked one, or Bridge where no family here has the model.

    Args:
        source: The source.
        asked: ``--engine``.
        reference: ``--reference``, which Bridge needs.
        allow: As in ``refuse_other_forward``.
        family: As in ``model_of_args``.
        say: Called with a line if Bridge is chosen though not asked for.

    Raises:
        RefusedError: neither can export it, or something that Bridge needs is missing.
    """
    if asked == "lrps":
        return asked
    if asked is None and not source.opened.of_bridge:
        try:
            model_of_args(source.opened.args, source.vocab, allow=allow, family=family)
        except RefusedError as error:
            if reference is None:
                more = " Or give --reference DIR: Megatron-Bridge may have the model." if engines.has_bridge() else ""
                raise RefusedError(error.what, error.fix + more) from None
            say(f"Megatron-Bridge exports it, because no family of Megatron-LRPS has the model: {error.what}")
        except (KeyError, TypeError, ValueError):
            return "lrps"  # whose own message says what is wrong
        else:
            if reference is not None:
                say(f"--reference {reference} is not needed: Megatron-LRPS exports this model itself")
            return "lrps"
    if reference is None:
        missing = saved_by_bridge(source.opened.folder) if source.opened.of_bridge else None
        raise RefusedError(
            missing.what if missing else "--engine bridge needs --reference.",
            "give --reference DIR: a folder with the config.json of the model that was trained.",
        )
    if asked is None and source.opened.of_bridge:
        say("Megatron-Bridge exports it, because Megatron-Bridge has saved it")
    engines.refuse_no_bridge()
    return "bridge"


def export_by_bridge(
    source: ExportSource,
    reference: Path,
    *,
    output: Path | None = None,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    allow: Collection[str] = (),
    check: bool | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ExportedVersion:
    """Export to a Hugging Face folder through Megatron-Bridge. An export that was made from the same stays.

    Args:
        source: The source.
        reference: A folder with the config.json of the model that was trained.
        output: The folder, instead of ``source.target``.
        dtype: ``bf16``, ``fp32``, or None to keep the saved one.
        shard_bytes: The size of the largest file.
        allow: Arguments outside Megatron's that do not change the forward pass.
        check: Compare the logits with Megatron's, where a CPU can compute them; None does it if the machine can, and
            lets transformers load the export of another model.
        say: Called with a line for each step.

    Raises:
        RefusedError: Bridge cannot export the model, the checkpoint is of another model than config.json, another
            export is there, or the check fails.
        LrpsError: Bridge fails; the error quotes its message.
        StorageError: the disk fails; nothing is left that looks whole.
    """
    target, opened = output or source.target, source.opened
    known = not opened.of_bridge and not_computed(opened.args) is None
    if check and not known:
        raise RefusedError(
            "--check compares logits with Megatron's on a CPU, and this model is of none that it builds there.",
            "leave it out: transformers loads the export all the same.",
        )
    refuse_unknown_arguments(opened.args, allow=allow)
    config = _config_of(reference, source)
    digest = hashlib.sha256((reference / "config.json").read_bytes()).hexdigest()
    record = {**source.record, "dtype": dtype, "engine": ENGINE, "reference_sha256": digest}
    weights = [tensor for key, tensor in opened.tensors.items() if not key.startswith(IGNORED)]
    values = sum(elements(tensor.shape) for tensor in weights)
    rounded = DTYPES[dtype] if dtype else None
    compared: Compared | None = None
    statement = ""

    def verify(folder: Path) -> None:
        nonlocal compared
        place: dict[str, Any] = {"vocab": source.vocab, "elements": values, "name": target, "say": say}
        if known:
            compared = check_copy(check, opened.folder, folder, opened.args, dtype=rounded, **place)
        else:
            check_loading(check, folder, **place)

    def write() -> Exported:
        nonlocal statement
        refuse_full_disk(target, sum(elements(each.shape) * (rounded or each.dtype).itemsize for each in weights))
        with staged(target) as hidden:
            done = run_worker(
                {
                    "do": "export",
                    "checkpoint": str(opened.folder.absolute()),
                    "own": opened.of_bridge,
                    "reference": str(reference.absolute()),
                    "output": str(hidden.absolute()),
                    "dtype": dtype_name(rounded) if rounded else None,
                    "shard_bytes": shard_bytes,
                }
            )
            statement = _write_beside(hidden, source, {**config, "torch_dtype": done["dtype"]}, done["version"])
            write_record({**record, "bridge": done["version"]}, hidden)
            verify(hidden)
        return Exported(done["tensors"], done["bytes"], done["files"])

    written = made_once(source, target, record, write, say)
    return ExportedVersion(target, written, statement, compared)


def standing_export(source: ExportSource, dtype: str | None = None) -> ExportedVersion | None:
    """Return the export by Bridge that is there already and was made from the same checkpoint, or None.

    Args:
        source: The source.
        dtype: ``bf16``, ``fp32``, or None to take it in whatever dtype it is.

    Raises:
        RefusedError: its weights have another dtype.
    """
    found = read_json(source.target / RECORD) or {}
    if found.get("engine") != ENGINE or any(found.get(key) != value for key, value in source.record.items()):
        return None
    if dtype is not None:
        held, wanted = read_config(source.target / "config.json").get("torch_dtype"), dtype_name(DTYPES[dtype])
        if held != wanted:
            raise RefusedError(
                f"The export by Megatron-Bridge in {source.target} has weights of {held}, and {wanted} is asked for.",
                f"move it away and export with --reference DIR --dtype {dtype}, or ask for no dtype to take it as it "
                "is.",
            )
    return ExportedVersion(source.target, None, "", None)


def _config_of(reference: Path, source: ExportSource) -> dict[str, Any]:
    """Return the config.json of an export; refuse a reference that cannot be the model's."""
    file = reference / "config.json"
    config = dict(read_config(file))
    if config.get("quantization_config") is not None:
        raise RefusedError(
            f"{file} has a quantization_config, and the weights of an export are not quantized.",
            "remove it in a copy of the folder's config.json.",
        )
    if config.get("vocab_size") != source.vocab:
        raise RefusedError(
            f"{file} has vocab_size {config.get('vocab_size')}, but the tokenizer has {source.vocab} tokens.",
            f"set it to {source.vocab} in a copy of the folder's config.json.",
        )
    kept = {key: value for key, value in config.items() if key not in _LEFT_OUT}
    return {**kept, "bos_token_id": None, "eos_token_id": source.eod, "pad_token_id": None}


def _write_beside(hidden: Path, source: ExportSource, config: dict[str, Any], version: str) -> str:
    """Write everything but the weights; return a sentence on the tokenizer."""
    positions = next((config[key] for key in _POSITIONS if isinstance(config.get(key), int)), 0)
    architecture = next(iter(config.get("architectures") or ["model"]))
    about = (
        f"A {architecture} of {source.vocab:,} tokens, {config['torch_dtype']}, converted by Megatron-Bridge {version}."
    )
    return write_around(hidden, source, config, about=about, positions=positions, ignored=[])
