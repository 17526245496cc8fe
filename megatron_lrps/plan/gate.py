"""A gate: conditions on a version's scores, one per line, such as ``ppl/v1-web <= 1.01 * v2``. Pure."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.paths import Tree
from megatron_lrps.plan.version_source import sources_of

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LINE = re.compile(
    rf"(?P<score>[A-Za-z_][\w,.-]*/[\w.-]+)\s*(?P<sign><=|>=|<|>)\s*"
    rf"(?:(?P<number>{_NUMBER})|(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<version>[A-Za-z0-9_][\w.-]*))\Z"
)
_SIGNS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
PREVIOUS = "previous"
"""The name for the previous version of the same paradigm. For the first version, its conditions hold."""
_SET_WORDS = ("ppl", "loss", "bpb")


class Condition(NamedTuple):
    """A line of a gate.

    Attributes:
        text: The line as it was written.
        score: A name such as ``ppl/v1-web``, or ``ppl/web`` if only one version has a set of that name.
        sign: ``<=``, ``>=``, ``<`` or ``>``.
        factor: The factor of the other version's score; or the number itself.
        version: The other version, ``PREVIOUS``, or None for a number.
    """

    text: str
    score: str
    sign: str
    factor: float
    version: str | None


class Judged(NamedTuple):
    """A condition with its numbers.

    Attributes:
        condition: The line of the gate.
        value: The score of the version.
        other: The score of the other version, or None if the line has a number.
        holds: Whether it is met; False if a score is not finite.
        against: The name of the other version; None if the line has a number, or if no version is before.
    """

    condition: Condition
    value: float
    other: float | None
    holds: bool
    against: str | None = None

    def __str__(self) -> str:
        if self.condition.version is not None and self.against is None:
            return f"{self.condition.text}: {self.value:.6g}, and no version is before it: holds"
        bound = self.condition.factor * (1.0 if self.other is None else self.other)
        beside = "" if self.other is None else f" ({self.against} has {self.other:.6g})"
        return (
            f"{self.condition.text}: {self.value:.6g} {self.condition.sign} {bound:.6g}{beside} "
            f"{'holds' if self.holds else 'does not hold'}"
        )


def read_gate_file(file: Path) -> list[Condition]:
    """Read the conditions in a file; raises RefusedError as ``read_gate``, and if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"The gate {file} cannot be read: {error}.", "correct its path.") from None
    return read_gate(text, file.name)


def previous_of(tree: Tree, name: str) -> str | None:
    """Return the path of the previous version of ``name``'s paradigm; None for the first."""
    path = tree.path(name)
    if path.version is None:
        return None
    order = {version: number for number, (version, _) in enumerate(tree.version_ends)}
    rivals = {order[each.version]: each.path for each in sources_of(tree) if each.paradigm == path.paradigm}
    before = [number for number in rivals if number < order[path.version]]
    return rivals[max(before)] if before else None


def read_gate(text: str, name: str) -> list[Condition]:
    """Read a gate's conditions, without empty lines and comments after ``#``.

    Raises:
        RefusedError: A line is not a condition, or there is no condition.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        match = _LINE.match(said)
        if not match:
            raise RefusedError(
                f"{name}, line {number}: {said!r} is not a condition.",
                "write SCORE <= NUMBER or SCORE <= FACTOR * VERSION, such as ppl/web <= 1.01 * v2.",
            )
        factor = float(match["number"] or match["factor"] or 1.0)
        found.append(Condition(said, match["score"], match["sign"], factor, match["version"]))
    if not found:
        raise RefusedError(
            f"{name} holds no condition, so it would let every version through.", "write one condition on each line."
        )
    return found


def judge(
    conditions: Sequence[Condition],
    version: str,
    scores: Callable[[str], Mapping[str, float]],
    measured: Callable[[str, str], Mapping[str, object]],
    previous: str | None = None,
) -> list[Judged]:
    """Return each condition with its numbers.

    Args:
        conditions: The conditions, from ``read_gate``.
        version: The version to be released.
        scores: Version -> its scores by name; raises RefusedError if it has none.
        measured: (version, score) -> how it was measured.
        previous: The version that ``previous`` names, or None if there is none.

    Raises:
        RefusedError: a score is missing, is ambiguous, or was measured differently for the other version.
    """
    judged = []
    for condition in conditions:
        name = full_name(condition.score, scores(version), version)
        value, other = scores(version)[name], None
        against = previous if condition.version == PREVIOUS else condition.version
        if condition.version is not None and against is None:
            judged.append(Judged(condition, value, None, math.isfinite(value)))
            continue
        if against is not None:
            theirs = scores(against)
            if name not in theirs:
                raise _no_score(against, name, theirs)
            other = theirs[name]
            how, their_how = measured(version, name), measured(against, name)
            if differing := next((key for key in how if how[key] != their_how.get(key)), None):
                raise RefusedError(
                    f"{name} cannot be compared: {differing} is {how[differing]} for {version}, and "
                    f"{their_how.get(differing)} for {against}.",
                    f"lrps eval PLAN {against} again with the same settings.",
                )
        bound = condition.factor * (1.0 if other is None else other)
        holds = math.isfinite(value) and math.isfinite(bound) and _SIGNS[condition.sign](value, bound)
        judged.append(Judged(condition, value, other, holds, against))
    return judged


def full_name(score: str, scores: Mapping[str, float], version: str) -> str:
    """Return a score's full name, given with or without the set's version: ``ppl/web`` for ``ppl/v1-web``.

    Raises:
        RefusedError: there is no such score, or sets of several versions have that name.
    """
    if score in scores:
        return score
    word, _, name = score.partition("/")
    short = [
        each for each in scores if word in _SET_WORDS and each.startswith(f"{word}/") and each.endswith(f"-{name}")
    ]
    if len(short) == 1:
        return short[0]
    if short:
        raise RefusedError(f"{score} can mean {' or '.join(short)} of {version}.", "write one of these in the gate.")
    raise _no_score(version, score, scores)


def _no_score(version: str, score: str, scores: Mapping[str, float]) -> RefusedError:
    shown = ", ".join(name for name in scores if "_stderr" not in name)
    return RefusedError(
        f"{version} has no score {score}; it has {shown or 'none'}.", f"lrps eval PLAN {version}, or change the gate."
    )
