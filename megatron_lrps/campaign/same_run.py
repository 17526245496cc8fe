"""What must agree between a run and the checkpoint that it continues or forks from.

Both sides are plain mappings: the checkpoint's own saved Megatron arguments, and the run's. Nothing here
loads anything; ``start_point.py`` says which checkpoint it is.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.campaign.resharding import RESHARDABLE, refuse_other_layout
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_arguments import CLASSES, arguments, by_flag, flag_of, is_compared

_WHY: dict[str, str] = {
    "lr": "Megatron makes it part of the optimizer's identity; a path's schedule is a multiplier on it",
    "min_lr": "Megatron makes it part of the optimizer's identity; a path's schedule ends there",
    "global_batch_size": "positions are counted in it",
    "seq_length": "it cuts the data into other samples",
    "seed": "it orders the data",
    "optimizer": "its state is another one's",
    "use_distributed_optimizer": "the optimizer's state is laid out by it",
    "mtp_num_layers": "it adds or drops layers, and what is dropped is left out of the load without a word",
    "fp8": "the saved scales belong to it",
    "fp8_recipe": "the saved scales belong to it",
    "tokenizer_type": "the same ids would mean other text",
}
"""Reasons that say more than the class of the argument does."""
ALLOW_DISK = "disk"
_OWN = "lrps_"

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

    Compared is all that the table of Megatron's arguments does not let differ, and what it does not know where both
    sides have it. A value that one side lacks, as an older checkpoint does, is Megatron's default.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination (``vars(args)``).
        run: This run's, likewise.
        name: The checkpoint, for the message.
        allow: Destinations that may differ, as ``allowed`` gives them.

    Raises:
        RefusedError: naming the argument, both values and why.
    """
    for key in (*arguments(), *sorted(checkpoint.keys() & run.keys() - arguments().keys())):
        if (
            key in allow
            or not is_compared(key)
            or key.startswith((_OWN, "_"))
            or _works_itself_out(key, checkpoint, run)
        ):
            continue
        pair = _values(key, checkpoint, run)
        if pair is not None and pair[0] != pair[1]:
            there, here = pair
            otherwise = f" (or --lrps-allow {key})" if may_be_allowed(key) else ""
            raise RefusedError(
                f"{flag_of(key)}: {here} in this run, {there} in {name}: {_reason(key)}.",
                f"{_fix(key, there)}, or start another campaign{otherwise}.",
            )
    refuse_other_layout(checkpoint, run, name, allow=allow)


def allowed(keys: Sequence[str], known: Iterable[str]) -> list[str]:
    """What ``--lrps-allow`` names, as destinations.

    Args:
        keys: As the user gave them: destinations, or flags with or without dashes.
        known: Destinations of the run, which a script may have added to Megatron's.

    Raises:
        RefusedError: for a key that nothing compares, or that may not differ.
    """
    others = [*known]
    found = []
    for key in keys:
        argument = by_flag().get(key.removeprefix("--"))
        name = argument.destination if argument else key.removeprefix("--").replace("-", "_")
        if name not in (ALLOW_DISK, RESHARDABLE):
            if name not in arguments() and name not in others:
                close = difflib.get_close_matches(name, [*arguments(), *others], n=1)
                fix = f"did you mean {close[0]}?" if close else "docs/arguments.md lists what is compared."
                raise RefusedError(f"--lrps-allow {key}: Megatron has no such argument.", fix)
            if not is_compared(name):
                raise RefusedError(f"--lrps-allow {key}: it may differ anyway, as it {_does(name)}.", "drop it.")
            if not may_be_allowed(name):
                raise RefusedError(
                    f"--lrps-allow {key}: it may not differ: {_reason(name)}.", "start another campaign for that."
                )
        found.append(name)
    return found


def may_be_allowed(key: str) -> bool:
    """Whether ``--lrps-allow`` lets an argument differ that is compared."""
    argument = arguments().get(key)
    return argument is None or CLASSES[argument.in_class].allowable


def _works_itself_out(key: str, checkpoint: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    if key == "num_query_groups":
        return not run.get("group_query_attention")  # Megatron overwrites it while it builds the model
    if key == "padded_vocab_size":
        tensor = "tensor_model_parallel_size"
        return (checkpoint.get(tensor) or 1) != (run.get(tensor) or 1)  # it is padded to a multiple of that
    return False


def _values(key: str, checkpoint: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """The checkpoint's value and the run's; None where one is unknown."""
    there, here = checkpoint.get(key, _ABSENT), run.get(key, _ABSENT)
    if _ABSENT in (there, here):
        argument = arguments().get(key)
        if argument is None or argument.rewritten:
            return None
        there, here = (argument.default if value is _ABSENT else value for value in (there, here))
    return there, here


def _does(key: str) -> str:
    argument = arguments().get(key)
    return (
        CLASSES[argument.in_class].does if argument else "is no argument of Megatron-Core, and may be part of the model"
    )


def _reason(key: str) -> str:
    return _WHY.get(key) or f"it {_does(key)}"


def _fix(key: str, there: Any) -> str:
    argument = arguments().get(key)
    if argument is not None and argument.kind == "switch" and argument.flags:
        flag = argument.flags[0]
        return f"{'drop' if bool(there) == (flag in argument.negative) else 'give'} --{flag}"
    return f"drop {flag_of(key).split()[0]}" if there is None else f"give {there}"


def refuse_other_position(checkpoint: Mapping[str, Any], iteration: int, name: str) -> None:
    """Refuse a checkpoint whose sample position is not its iteration times the global batch, as after a batch ramp.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination.
        iteration: The checkpoint's.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming both numbers of samples.
    """
    consumed, batch = checkpoint.get("consumed_train_samples"), checkpoint.get("global_batch_size")
    if consumed is None or batch is None or consumed == iteration * batch:
        return
    raise RefusedError(
        f"{name} has read {consumed:,} samples, and {iteration:,} iterations of {batch:,} are {iteration * batch:,}: "
        "its batch size has changed on the way, and a path counts iterations of one global batch.",
        "fork off a run of one batch size, without --rampup-batch-size or --step-batch-size-schedule.",
    )


def refuse_other_data(checkpoint: Mapping[str, Any], run: Identity, iteration: int, name: str) -> None:
    """Refuse a run whose data or tokenizer differ from those that trained the checkpoint.

    Args:
        checkpoint: ``Identity.to_json`` of the checkpoint.
        run: This run's.
        iteration: The checkpoint's; windows that begin after it may differ.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming what differs, both values and the fix.
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
