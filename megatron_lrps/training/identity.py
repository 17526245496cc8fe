"""The identity of a path's data and tokenizer: their content, wherever the files lie."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.data.fingerprint import fingerprint, tokenizer_fingerprint
from megatron_lrps.data.index_reader import token_count
from megatron_lrps.plan import Plan, Window
from megatron_lrps.plan.data_files import blend_facts, window_facts
from megatron_lrps.plan.window_samples import windows_read
from megatron_lrps.training.arguments import Planned


def identity_of(planned: Planned, position: int, recorded: Mapping[str, Any]) -> Identity:
    """Identify the path's data and tokenizer by content; hash the .idx files that it still reads, and no others.

    Args:
        planned: The plan's path.
        position: The iteration that it starts from.
        recorded: ``Identity.to_json`` of the checkpoint there. Its entries for training data that the path has passed
            and does not replay are kept, as nothing reads them again: they may be gone.
    """
    tree, path = planned.tree, planned.path
    read = windows_read(tree, path, position)
    return Identity(
        windows=[
            window_facts(tree, window, _known if window in read else _passed(recorded, window))
            for window in tree.data_windows(path)
        ],
        tokenizer=_tokenizer(tree.plan),
        order=path.order,
        **blend_facts(tree, path, _known),
    )


def _known(prefix: Path) -> dict[str, Any]:
    return {**fingerprint(prefix).to_json(), "tokens": token_count(prefix)}


def _passed(recorded: Mapping[str, Any], window: Window) -> Callable[[Path], dict[str, Any]]:
    """Return a lookup of a window's recorded indexes, wherever they lay then; it reads those without a record."""
    name, listed = window.version.name, [prefix for _, prefix in window.version.train]
    data: list[Any] = next((each["data"] for each in recorded.get("windows", []) if each["version"] == name), [])
    found = {prefix: known for prefix, (_, _, known) in zip(listed, data, strict=False)}
    return lambda prefix: found.get(prefix) or _known(prefix)


def _tokenizer(plan: Plan) -> str | None:
    """Return a tokenizer's identity: its file's fingerprint, or without a file what the plan says of it."""
    tokenizer = plan.tokenizer
    if tokenizer is None:
        return None
    if tokenizer.model is not None and tokenizer.model.exists():
        return tokenizer_fingerprint(tokenizer.model)
    return " ".join(str(part) for part in (tokenizer.type, tokenizer.model, tokenizer.vocab_size) if part is not None)
