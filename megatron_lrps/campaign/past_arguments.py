"""Changes of a past (``Change``): which of Megatron's arguments may not differ, and which may be allowed to."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.campaign.resharding import RESHARDABLE
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_arguments import CLASSES, arguments, by_flag, flag_of, is_compared

_PREDICTIONS = "mtp_num_layers"
_WHY: dict[str, str] = {
    "lr": "Megatron makes it part of the optimizer's identity; a path's schedule is a multiplier on it",
    "min_lr": "Megatron makes it part of the optimizer's identity; a path's schedule ends there",
    "global_batch_size": "positions are counted in it",
    "seq_length": "it cuts the data into other samples",
    "seed": "it orders the data",
    "optimizer": "each optimizer has a state of its own kind",
    "use_distributed_optimizer": "the optimizer's state is laid out by it",
    _PREDICTIONS: "it drops layers, which are left out of the load without a word",
    "fp8": "the saved scales belong to it",
    "fp8_recipe": "the saved scales belong to it",
    "tokenizer_type": "the same ids would mean other text",
}
"""Reasons that are more specific than the argument's class."""
ALLOW_DISK = "disk"
_OWN = "lrps_"

RESTORE = "what has been trained may not change; restore it"
_DIGEST_LETTERS = 64
_ABSENT = object()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value that differs from the one that was trained.

    Attributes:
        key: A key of the plan, a flag, or a description.
        then: The value that has been trained.
        now: The value that is given now.
        argument: The destination, if it is an argument of Megatron's.
        why: Why it may not change, if that is not obvious.
        fix: What to do about it.
    """

    key: str
    then: object
    now: object
    argument: str | None = None
    why: str = ""
    fix: str = RESTORE

    def from_checkpoint(self, name: str) -> RefusedError:
        """Return the refusal of a run that does not fit the checkpoint ``name``."""
        why = f": {self.why}" if self.why else ""
        return RefusedError(
            f"{self.key}: {_shown(self.now)} in this run, {_shown(self.then)} in {name}{why}.", f"{self.fix}."
        )


def changed_arguments(then: Mapping[str, Any], now: Mapping[str, Any], allow: Sequence[str] = ()) -> Iterator[Change]:
    """Yield the arguments that differ and may not.

    Compares all arguments that the table of Megatron's arguments does not let differ, and unknown ones if both sides
    have them. A value that one side lacks, as older checkpoints do, is Megatron's default.

    Args:
        then: The trained values by destination; if empty, nothing is known.
        now: The values given now, likewise.
        allow: Destinations that may differ, from ``allowed``.
    """
    if not then:
        return
    for key in (*arguments(), *sorted(then.keys() & now.keys() - arguments().keys())):
        if not is_compared(key) or key.startswith((_OWN, "_")) or _works_itself_out(key, then, now):
            continue
        pair = _values(key, then, now)
        if pair is not None and pair[0] != pair[1]:
            before, after = pair
            adds = key == _PREDICTIONS and (after or 0) > (before or 0)
            if key in allow and not adds:
                continue
            otherwise = f" (or --lrps-allow {key})" if may_be_allowed(key) and not adds else ""
            fix = f"{_fix(key, before)}, or start another campaign{otherwise}"
            why = "no checkpoint has weights or optimizer state of the layers that it adds" if adds else _reason(key)
            yield Change(key=flag_of(key), then=before, now=after, argument=key, why=why, fix=fix)


def allowed(keys: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return the destinations that ``--lrps-allow`` names.

    Args:
        keys: The user's words: destinations, or flags with or without dashes.
        known: Destinations of the run, including those that a script added to Megatron's.

    Raises:
        RefusedError: a key is not compared, or may not differ.
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
    """Whether ``--lrps-allow`` can let a compared argument differ."""
    argument = arguments().get(key)
    return argument is None or CLASSES[argument.in_class].allowable


def _works_itself_out(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if key == "num_query_groups":
        return not now.get("group_query_attention")  # Megatron overwrites it while building the model
    # Releases of Megatron have other defaults for what such a run does not read.
    if key == "muon_tp_mode":
        return then.get("optimizer") == now.get("optimizer") == "adam"
    if key in ("tokenizer_hf_use_fast", "tokenizer_hf_include_special_tokens"):
        return True  # up to 0.18, and for the text of a prompt: the data are ids already
    if key == "rl_generation_lag" or (key.startswith(("rl_", "langrl_")) and key not in arguments()):
        return then.get("perform_rl_step") is now.get("perform_rl_step") is False
    if key == "padded_vocab_size":
        tensor = "tensor_model_parallel_size"
        return (then.get(tensor) or 1) != (now.get(tensor) or 1)  # it is padded to a multiple of this
    return False


def _values(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return the value then and the value now; None if one is unknown."""
    before, after = then.get(key, _ABSENT), now.get(key, _ABSENT)
    if _ABSENT in (before, after):
        argument = arguments().get(key)
        if argument is None or argument.rewritten:
            return None
        before, after = (argument.default if value is _ABSENT else value for value in (before, after))
    return before, after


def _does(key: str) -> str:
    argument = arguments().get(key)
    return (
        CLASSES[argument.in_class].does if argument else "is no argument of Megatron-Core, and may be part of the model"
    )


def _reason(key: str) -> str:
    return _WHY.get(key) or f"it {_does(key)}"


def _fix(key: str, then: Any) -> str:
    argument = arguments().get(key)
    if argument is not None and argument.kind == "switch" and argument.flags:
        flag = argument.flags[0]
        return f"{'drop' if bool(then) == (flag in argument.negative) else 'give'} --{flag}"
    return f"drop {flag_of(key).split()[0]}" if then is None else f"give {then}"


def _shown(value: object) -> str:
    text = str(value)
    return shortened(text) if len(text) == _DIGEST_LETTERS and text.isalnum() else text


def shortened(value: object) -> str:
    """Return a value as text, shortened if it is long, such as a hash."""
    text = str(value)
    return text if len(text) <= 16 else text[:16] + "..."
