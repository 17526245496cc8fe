"""Megatron's arguments (megatron-core 0.19.2), each in a class that says whether it belongs to a path's identity.

The table is ``megatron_arguments.tsv``: destination, class, kind of value, default, flags, choices. A default with
``~`` before it is one that Megatron may replace while it validates; a flag with ``!`` before it sets its switch to
false. Nothing of Megatron's is imported: ``tests/plan/test_megatron_arguments.py`` compares the table with the
installed parser. ``docs/arguments.md`` shows it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.keys.values import shown

TABLE = Path(__file__).with_suffix(".tsv")
RELEASE = "0.19.2"


@dataclass(frozen=True, kw_only=True)
class ArgumentClass:
    """A class of arguments.

    Attributes:
        does: What the class does, in words, after "it".
        compared: Whether a run's value must be that of the checkpoint it continues.
        allowable: Whether ``--lrps-allow`` lets it differ.
    """

    does: str
    compared: bool = True
    allowable: bool = True


CLASSES: Mapping[str, ArgumentClass] = {
    "fixed": ArgumentClass(does="ties the optimizer's state or the position in the data", allowable=False),
    "size": ArgumentClass(does="makes it another model, with weights of other sizes", allowable=False),
    "model": ArgumentClass(does="makes it another model: it changes the forward pass"),
    "loss": ArgumentClass(does="changes the loss"),
    "update": ArgumentClass(does="changes how gradients become an update of the weights"),
    "precision": ArgumentClass(does="changes the number formats of weights, gradients or the optimizer"),
    "data": ArgumentClass(does="changes the samples or their order"),
    "tokenizer": ArgumentClass(does="changes what a token is"),
    "other": ArgumentClass(does="belongs to a part of Megatron that trains something else"),
    "plan": ArgumentClass(does="is decided by the plan, or by fork or resume", compared=False),
    "start": ArgumentClass(does="matters from scratch alone", compared=False),
    "layout": ArgumentClass(does="cuts the model among ranks; docs/layouts.md says what may differ", compared=False),
    "performance": ArgumentClass(does="changes speed, memory and the order of additions", compared=False),
    "evaluation": ArgumentClass(does="changes the validation", compared=False),
    "logging": ArgumentClass(does="changes what is logged", compared=False),
    "saving": ArgumentClass(does="changes how and when checkpoints are saved and read", compared=False),
    "place": ArgumentClass(
        does="names a file or folder; its content is compared where tokens, model or data depend on it",
        compared=False,
    ),
    "inference": ArgumentClass(does="belongs to inference", compared=False),
    "machine": ArgumentClass(does="concerns processes, signals, networks and their watchdogs", compared=False),
    "derived": ArgumentClass(does="has no flag: Megatron works it out, or counts in it", compared=False),
}
"""The classes. Those whose arguments may differ are an allow-list: all other arguments are compared."""


class _OneWord(NamedTuple):
    """How several numbers are written as one word of the argument line."""

    needs: str
    fits: str
    around: str


_ONE_WORD = {
    "tuple": _OneWord("whole numbers", r"\(?-?\d+(,\s*-?\d+)*\)?", "{}"),
    "pattern": _OneWord("a whole number, or a list of numbers", r"\d+|[\d\s,+*()\[\]]*\[[\d\s,+*()\[\]]*", "[{}]"),
}


class Argument(NamedTuple):
    """One of Megatron's arguments.

    Attributes:
        destination: Its name on Megatron's ``args``.
        in_class: A key of ``CLASSES``.
        kind: ``switch``, ``int``, ``float`` or ``text``, for a list followed by argparse's count (``int+``);
            ``tuple`` for whole numbers in one word (``16,0``), ``pattern`` for a whole number or a list of numbers in
            one word (``[0,1,1]``, ``([0]*3+[1]*9)``); "" if there is no flag.
        default: Megatron's, before it validates.
        rewritten: Whether Megatron may replace the default while it validates.
        flags: Its flags, without dashes.
        negative: The flags among ``flags`` that set a switch to false.
        choices: The allowed values; empty if they are not fixed.
    """

    destination: str
    in_class: str
    kind: str
    default: Any
    rewritten: bool
    flags: tuple[str, ...]
    negative: frozenset[str]
    choices: tuple[str, ...]

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return self.kind[-1:] in ("+", "*", "3")

    @property
    def needs(self) -> str:
        """The required type of a value, in words."""
        if self.kind == "switch":
            return "true or false"
        if self.kind in _ONE_WORD:
            return _ONE_WORD[self.kind].needs
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        number = "3 " if self.kind.endswith("3") else ""
        one, many = {"int": ("a whole number", "whole numbers"), "float": ("a number", "numbers")}.get(
            self.kind.rstrip("+*3"), ("text", "texts")
        )
        return f"{number}{many}" if self.is_list else one


@cache
def arguments() -> Mapping[str, Argument]:
    """Return the table by destination, in its order."""
    rows = [[*line.split("\t"), "", ""][:6] for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]
    defaults = json.loads(f"[{','.join(row[3].removeprefix('~') for row in rows)}]")
    found = {}
    for (destination, in_class, kind, default, flags, choices), value in zip(rows, defaults, strict=True):
        found[destination] = Argument(
            destination=destination,
            in_class=in_class,
            kind=kind,
            default=value,
            rewritten=default.startswith("~"),
            flags=tuple(flag.removeprefix("!") for flag in flags.split()),
            negative=frozenset(flag[1:] for flag in flags.split() if flag.startswith("!")),
            choices=tuple(choices.split()),
        )
    return found


@cache
def by_flag() -> Mapping[str, Argument]:
    """Return the table by flag, without dashes."""
    return {flag: argument for argument in arguments().values() for flag in argument.flags}


def is_compared(destination: str) -> bool:
    """Whether an argument belongs to a path's identity, as all arguments outside the table do."""
    argument = arguments().get(destination)
    return argument is None or CLASSES[argument.in_class].compared


def flag_of(destination: str) -> str:
    """Return an argument's name in messages: its flag, followed by its destination if that differs."""
    argument = arguments().get(destination)
    flag = argument.flags[0] if argument and argument.flags else destination.replace("_", "-")
    return f"--{flag}" if flag.replace("-", "_") == destination else f"--{flag} ({destination})"


def refuse_unknown_flags(flags: Mapping[str, Any]) -> None:
    """Refuse flags that Megatron does not have, and values that it would reject.

    Args:
        flags: Flag without dashes -> value, as in a plan; false leaves a flag out.

    Raises:
        PlanError: naming the first such flag, and the flag that was probably meant.
    """
    for flag, value in flags.items():
        argument = by_flag().get(flag)
        if argument is None:
            what = f"megatron.{shown(flag)[1:-1]}: Megatron-Core {RELEASE} has no such flag."
            raise PlanError(what, _meant(flag, value))
        if value is not False and not _taken(argument, value):
            several = isinstance(value, list) and not argument.is_list and argument.kind not in _ONE_WORD
            fix = "give one value, in quotes where it holds commas." if several else f"give {argument.needs}."
            raise PlanError(f"megatron.{flag}: {shown(value)} is not {argument.needs}.", fix)


def refuse_known_flags(flags: Mapping[str, Any]) -> None:
    """Refuse Megatron's own flags under ``script_flags``, which are not checked; raises PlanError."""
    for flag in flags:
        if flag in by_flag() or flag.startswith("lrps-"):
            fix = "move it to `megatron:`." if flag in by_flag() else "remove it."
            owner = "Megatron" if flag in by_flag() else "Megatron-LRPS"
            raise PlanError(f"script_flags.{flag}: this is a flag of {owner}, not of your script.", fix)


def words(flag: str, value: Any) -> list[str]:
    """Return a flag's values as words of Megatron's argument line.

    Args:
        flag: Without dashes; a flag that Megatron does not have is taken as it is.
        value: Neither true nor false. A list gives its items, or one word where Megatron's parser splits it itself.
    """
    items = [str(item) for item in (value if isinstance(value, list) else [value])]
    argument = by_flag().get(flag)
    if isinstance(value, list) and argument is not None and argument.kind in _ONE_WORD:
        return [_ONE_WORD[argument.kind].around.format(",".join(items))]
    return items


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return destination -> value as Megatron reads a plan's flags, for all arguments of a path's identity.

    Args:
        flags: As in ``refuse_unknown_flags``; missing flags have their defaults.
    """
    values = {name: each.default for name, each in arguments().items() if is_compared(name)}
    for flag, value in flags.items():
        argument = by_flag().get(flag)
        if argument is not None and argument.destination in values and value is not False:
            try:
                values[argument.destination] = read_value(argument, value, flag)
            except ValueError:  # a plan that was accepted before lrps checked values
                values[argument.destination] = value
    return values


def _meant(flag: str, value: Any) -> str:
    import difflib  # only for a refusal: every command imports this module

    own = "a flag of your own script belongs under `script_flags:`"
    argument = arguments().get(flag.replace("-", "_"))
    if argument is not None and argument.flags:
        right = argument.flags[0]
        opposite = right in argument.negative and isinstance(value, bool)
        return f"write {right}{f': {str(not value).lower()}' if opposite else ''}; {own}."
    close = difflib.get_close_matches(flag.replace("_", "-"), by_flag(), n=1, cutoff=0.75)
    return f"did you mean {close[0]}? Otherwise remove it; {own}." if close else f"remove it; {own}."


def _taken(argument: Argument, value: Any) -> bool:
    if argument.kind == "switch":
        return isinstance(value, bool)
    items = value if isinstance(value, list) else [value]
    if argument.kind in _ONE_WORD:
        return all(type(item) is int or not isinstance(value, list) for item in items) and (
            re.fullmatch(_ONE_WORD[argument.kind].fits, words(argument.flags[0], value)[0]) is not None
        )
    if (not argument.is_list and isinstance(value, list)) or any(isinstance(item, bool) for item in items):
        return False
    if argument.kind.endswith("3") and len(items) != 3:
        return False
    try:
        read = [str(_one(argument, item)) for item in items]
    except ValueError:
        return False
    return not argument.choices or set(read) <= set(argument.choices)


def _one(argument: Argument, item: Any) -> Any:
    """Return an item as argparse reads it from the argument line; raises ValueError."""
    convert = {"int": int, "float": float}.get(argument.kind.rstrip("+*3"), str)
    return convert(str(item))


def read_value(argument: Argument, value: Any, flag: str) -> Any:
    """Return a plan's value of a flag as Megatron reads it from the argument line; raises ValueError."""
    if argument.kind == "switch":
        return flag not in argument.negative
    if argument.kind in _ONE_WORD:
        word = "".join(words(flag, value)[0].split()).strip("()" if argument.kind == "tuple" else "")
        return int(word) if word.isdigit() else word
    if argument.is_list:
        return [_one(argument, item) for item in (value if isinstance(value, list) else [value])]
    return _one(argument, value)
