"""What must agree between a run and the checkpoint that it continues or forks from.

Both sides are plain mappings: the checkpoint's own saved Megatron arguments, and the run's. Nothing here
loads anything; ``resume.py`` says which checkpoint it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.versions.layout import RESHARDABLE, refuse_other_layout

_ALWAYS: dict[str, str] = {
    "lr": "Megatron makes it part of the optimizer's identity; a path's schedule is a multiplier on it",
    "min_lr": "Megatron makes it part of the optimizer's identity; a path's schedule ends there",
    "global_batch_size": "positions are counted in it",
    "seq_length": "it cuts the data into other samples",
    "seed": "it orders the data",
    "num_layers": "it is another model",
    "hidden_size": "it is another model",
    "ffn_hidden_size": "it is another model",
    "num_attention_heads": "it is another model",
    "num_query_groups": "it is another model",
    "group_query_attention": "it is another model",
    "kv_channels": "it is another model",
    "swiglu": "it is another model",
    "normalization": "it is another model",
    "position_embedding_type": "it is another model",
    "rotary_base": "it is another model",
    "untie_embeddings_and_output_weights": "it is another model",
    "num_experts": "it is another model",
    "optimizer": "its state is another one's",
    "adam_beta1": "the moments were made with it",
    "adam_beta2": "the moments were made with it",
    "weight_decay": "all paths share it",
    "bf16": "the weights' format",
    "fp16": "the weights' format",
    "fp8": "the saved scales belong to it",
    "fp8_recipe": "the saved scales belong to it",
    "use_distributed_optimizer": "the optimizer's state is laid out by it",
    "tokenizer_type": "the same ids would mean other text",
}
ALLOWABLE = ("adam_beta1", "adam_beta2", "weight_decay", "fp8", "fp8_recipe", RESHARDABLE)
"""Keys that may differ where a user knows better: another run, but not a wrong one (``--lrps-allow``)."""
ALLOW_DISK = "disk"

_ABSENT = object()


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a campaign's checkpoint carries about its data, beside Megatron's arguments.

    Attributes:
        windows: Per window up to the path's end, as ``plan.data.window_facts`` gives it: of each index prefix the
            fingerprint and its tokens are known.
        tokenizer: Fingerprint of the tokenizer's file, or None.
        order: ``chained`` or ``mixed``.
    """

    windows: list[dict[str, Any]]
    tokenizer: str | None
    order: str

    def to_json(self) -> dict[str, Any]:
        """As plain lists and dicts."""
        return {"windows": self.windows, "tokenizer": self.tokenizer, "order": self.order}


def refuse_other_run(
    checkpoint: Mapping[str, Any], run: Mapping[str, Any], name: str, *, allow: Sequence[str] = ()
) -> None:
    """Refuse a run whose arguments do not fit the checkpoint's.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination (``vars(args)``).
        run: This run's, likewise.
        name: The checkpoint, for the message.
        allow: Keys of ``ALLOWABLE`` that may differ.

    Raises:
        RefusedError: naming the argument, both values and why.
    """
    for key, why in _ALWAYS.items():
        if key in allow:
            continue
        if key == "num_query_groups" and not run.get("group_query_attention"):
            continue  # without groups Megatron overwrites it while it builds the model
        there, here = checkpoint.get(key, _ABSENT), run.get(key, _ABSENT)
        if there is not _ABSENT and here is not _ABSENT and there != here:
            raise RefusedError(
                f"--{key.replace('_', '-')}: {here} in this run, {there} in {name}: {why}.",
                f"give {there}, or start another campaign{f' (or --lrps-allow {key})' if key in ALLOWABLE else ''}.",
            )
    refuse_other_layout(checkpoint, run, name, allow=allow)


def refuse_other_data(checkpoint: Mapping[str, Any], run: Identity, iteration: int, name: str) -> None:
    """Refuse a run whose data or tokenizer differ from those that trained the checkpoint.

    Args:
        checkpoint: ``Identity.to_json`` of the checkpoint.
        run: This run's.
        iteration: The checkpoint's; windows that begin after it may differ.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming what differs, both values and the mend.
    """
    there = checkpoint.get("tokenizer")
    if there != run.tokenizer:
        raise RefusedError(
            f"The tokenizer's content is {_short(run.tokenizer)} in this run, {_short(there)} in {name}.",
            "restore the tokenizer that the campaign was started with.",
        )
    start = 0
    for old, new in zip(checkpoint.get("windows", []), run.windows, strict=False):
        # A mixed order draws from every window from the first iteration on.
        if run.order == "chained" and start >= iteration:
            break
        _refuse_other_window(old, new, name)
        start += int(old["iterations"])


def _refuse_other_window(old: dict[str, Any], new: dict[str, Any], name: str) -> None:
    key = f"versions.{old['version']}"
    for field, plan_key in (("version", "name"), ("iterations", "iters")):
        if old[field] != new[field]:
            raise RefusedError(
                f"{key}.{plan_key}: {new[field]} in this run, {old[field]} in {name}.",
                "what has been trained may not change; restore it.",
            )
    if old.get("replay") != new.get("replay"):
        raise RefusedError(
            f"{key}.replay: {_replay(new)} in this run, {_replay(old)} in {name}.",
            "what has been trained may not change; restore it.",
        )
    if len(old["data"]) != len(new["data"]):
        raise RefusedError(
            f"{key}.train: {len(new['data'])} data sets in this run, {len(old['data'])} in {name}.",
            "what has been trained may not change; restore them.",
        )
    for (old_weight, _, old_print), (weight, prefix, fingerprint) in zip(old["data"], new["data"], strict=True):
        if old_weight != weight:
            raise RefusedError(
                f"{key}.train: {prefix} has the weight {weight} in this run, {old_weight} in {name}.",
                "what has been trained may not change; restore it.",
            )
        for part in ("idx_sha256", "bin_bytes", "bin_sample_sha256"):
            if fingerprint[part] != old_print[part]:
                file, _, what = part.partition("_")
                raise RefusedError(
                    f"{key}.train: {prefix}.{file} has {what} {_short(fingerprint[part])}, but {name} was trained with "
                    f"{_short(old_print[part])}: the data were changed.",
                    "restore the .bin and .idx that the campaign was started with.",
                )


def _replay(window: dict[str, Any]) -> str:
    replay = window.get("replay")
    if replay is None:
        return "none"
    counts = ", ".join(f"{count:,} of {version}" for version, count in replay["samples"].items())
    return f"{replay['share']:g} ({counts} samples)"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else text[:16] + "..."
