"""Checking that a run agrees with the checkpoint that it continues or forks from.

Both sides are plain mappings: the Megatron arguments saved in the checkpoint, and the run's. Nothing is loaded here;
``start_point.py`` chooses the checkpoint.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.campaign.past import Named, Past, PastWindow
from megatron_lrps.campaign.resharding import refuse_other_layout
from megatron_lrps.campaign.trained_data import CONTENT
from megatron_lrps.data.fingerprint import file_sha256
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.batch_schedule import batches_by_arguments
from megatron_lrps.plan.megatron_arguments import flag_of
from megatron_lrps.schedule.batches import Batches

NAMED_FILES = "lrps_named_files"
"""The Megatron argument that carries the files' hashes into every checkpoint, as JSON."""
LOOP = "lrps_loop"
"""The argument that names the training loop, where it is not Megatron-LM's."""
_MEGATRON_LM = "Megatron-LM"
_FILES = ("vocab_file", "merge_file", "metadata_path", "te_precision_config_file")
"""Destinations of the files that define tokens and the number format of layers. Other files are read into arguments
that are compared, or are written."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The identity of a checkpoint's data, saved beside Megatron's arguments.

    Attributes:
        windows: Each window up to the path's end, from ``plan.data.window_facts``, with the fingerprint and the
            tokens of each index prefix.
        tokenizer: The fingerprint of the tokenizer's file, or None.
        order: ``chained``, ``mixed`` or ``blend``.
        blend: For the order ``blend``, from ``plan.data_files.blend_facts``, with fingerprints and tokens; else None.
    """

    windows: list[dict[str, Any]]
    tokenizer: str | None
    order: str
    blend: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the identity as plain lists and dicts."""
        blend = {} if self.blend is None else {"blend": self.blend}
        return {"windows": self.windows, "tokenizer": self.tokenizer, "order": self.order, **blend}


def refuse_other_run(
    checkpoint: Mapping[str, Any], run: Mapping[str, Any], name: str, *, allow: Sequence[str] = ()
) -> None:
    """Refuse a run whose arguments do not fit the checkpoint's.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination (``vars(args)``).
        run: The arguments of this run, likewise.
        name: The checkpoint, for the message.
        allow: Destinations that may differ, from ``past_arguments.allowed``.

    Raises:
        RefusedError: naming the argument, both values and why.
    """
    Past(arguments=checkpoint).refuse_run(Past(arguments=run), name, allow=allow)
    refuse_other_layout(checkpoint, run, name, allow=allow)


def refuse_other_loop(checkpoint: Mapping[str, Any], run: Mapping[str, Any], name: str) -> None:
    """Refuse to continue a checkpoint with another training loop: their arguments cannot be compared.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination.
        run: The arguments of this run, likewise.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming both loops.
    """
    there, here = (str(each.get(LOOP) or _MEGATRON_LM) for each in (checkpoint, run))
    if there != here:
        raise RefusedError(
            f"{name} was trained by {there}, and this run is {here}'s: nothing shows that both train the same model.",
            f"train the whole campaign with {there}, or with {here} in a campaign of its own.",
        )


def refuse_other_position(
    checkpoint: Mapping[str, Any], iteration: int, name: str, *, planned: Batches | None = None, drawn: int = 0
) -> None:
    """Refuse a checkpoint whose batches were others than this run's, or whose sample position does not fit to them.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination.
        iteration: The iteration of the checkpoint.
        name: The checkpoint, for the message.
        planned: The batches of the plan; None for a branch without a plan, which has those of the checkpoint, and
            only one batch.
        drawn: The iteration up to which the checkpoint's data have been drawn, if that is later: the end of a window.

    Raises:
        RefusedError: naming both.
    """
    consumed, then = checkpoint.get("consumed_train_samples"), batches_by_arguments(checkpoint)
    reach = max(iteration, drawn)
    if planned is not None and then is not None and then.until(reach) != planned.until(reach):
        raise RefusedError(
            f"{name} was trained with a batch of {then.until(reach).words}, and the plan's is "
            f"{planned.until(reach).words}: positions are counted in it.",
            "correct global_batch_size and megatron.step-batch-size-schedule (or rampup-batch-size) up to there.",
        )
    if consumed is None:
        return
    if planned is None:
        batch = checkpoint.get("global_batch_size")
        if batch is None or consumed == iteration * batch:
            return
        raise RefusedError(
            f"{name} has read {consumed:,} samples, and {iteration:,} iterations of {batch:,} are "
            f"{iteration * batch:,}: its batch size has changed on the way, and without a plan a branch counts "
            "iterations of one global batch.",
            "fork off a run of one batch size, or use a plan, which takes megatron.step-batch-size-schedule and "
            "rampup-batch-size.",
        )
    if consumed != planned.samples(iteration):
        raise RefusedError(
            f"{name} has read {consumed:,} samples, and {iteration:,} iterations of the plan's batches "
            f"({planned.until(iteration).words}) are {planned.samples(iteration):,}: its batch size has changed on the "
            "way.",
            "give the plan the batches that the run had: megatron.step-batch-size-schedule or rampup-batch-size.",
        )


def refuse_other_data(checkpoint: Mapping[str, Any], run: Identity, iteration: int, name: str) -> None:
    """Refuse a run whose data or tokenizer differ from those that trained the checkpoint.

    Args:
        checkpoint: ``Identity.to_json`` of the checkpoint.
        run: The identity of this run.
        iteration: The iteration of the checkpoint; windows that begin after it may differ.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming the difference, both values and the fix.
    """
    past, now = (
        Past(
            values={"The tokenizer's content": known.get("tokenizer")},
            windows=[_window(window) for window in known.get("windows", [])],
            # A mixed order draws from every window from the first iteration on.
            trained=None if run.order == "mixed" else iteration,
            blends={"branch.data": _named(known["blend"]["data"])} if "blend" in known else {},
        )
        for known in (checkpoint, run.to_json())
    )
    past.refuse_run(now, name)


def named_files(args: Mapping[str, Any]) -> str:
    """Return the content hashes of a run's files, for ``NAMED_FILES``; raises RefusedError if a file is missing."""
    return json.dumps({name: file_sha256(str(args[name])) for name in _FILES if args.get(name)})


def refuse_other_files(checkpoint: Mapping[str, Any], run: Mapping[str, Any], name: str) -> None:
    """Refuse a run whose files differ in content from those that trained the checkpoint.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination. Checkpoints of stock
            Megatron and of lrps 0.1 do not record them.
        run: The arguments of this run, likewise.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming the argument and both contents.
    """
    there = checkpoint.get(NAMED_FILES)
    try:
        recorded = json.loads(there) if isinstance(there, str) else None
    except ValueError:
        recorded = None
    if isinstance(recorded, dict):
        past, now = (Past(values=_contents(each)) for each in (recorded, json.loads(named_files(run))))
        past.refuse_run(now, name)


def _contents(hashes: Mapping[str, Any]) -> dict[str, object]:
    return {f"{flag_of(key)}, the content of its file": hashes.get(key, "none") for key in _FILES}


def _window(known: Mapping[str, Any]) -> PastWindow:
    return PastWindow(
        version=known["version"],
        iterations=int(known["iterations"]),
        replay=_replay(known.get("replay")),
        data=_named(known["data"]),
    )


def _named(data: Sequence[Any]) -> list[tuple[float, Named]]:
    return [
        (weight, Named(place=prefix, recorded={part: content[part] for part in CONTENT}))
        for weight, prefix, content in data
    ]


def _replay(replay: Mapping[str, Any] | None) -> str:
    if replay is None:
        return "none"
    counts = ", ".join(f"{count:,} of {version}" for version, count in replay["samples"].items())
    return f"{float(replay['share'])!r} ({counts} samples)"
