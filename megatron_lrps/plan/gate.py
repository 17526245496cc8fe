"""A gate: conditions on a version's scores, one a line, such as ``ppl/v1-web <= 1.01 * v2``. Pure."""

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
"""In place of a version's name: the one before, of the same paradigm. For the first such a condition holds."""
_SET_WORDS = ("ppl", "loss", "bpb")


class Condition(NamedTuple):
    """A line of a gate.

    Attributes:
        text: The line as it was written.
        score: A name such as ``ppl/v1-web``, or ``ppl/web`` if only one version has a set of that name.
        sign: ``<=``, ``>=``, ``<`` or ``>``.
        factor: What the other version's score is multiplied by; or the number itself.
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
        holds: Whether it is met; never where a score is no number.
        against: The name of the other version. None if the line has a number, and if no version is before.
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
    """The conditions in a file; raises RefusedError as ``read_gate``, and where it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"The gate {file} cannot be read: {error}.", "correct its path.") from None
    return read_gate(text, file.name)


def previous_of(tree: Tree, name: str) -> str | None:
    """The path of the version before that of the path ``name``, of the same paradigm; None for the first."""
    path = tree.path(name)
    if path.version is None:
        return None
    order = {version: number for number, (version, _) in enumerate(tree.version_ends)}
    rivals = {order[each.version]: each.path for each in sources_of(tree) if each.paradigm == path.paradigm}
    before = [number for number in rivals if number < order[path.version]]
    return rivals[max(before)] if before else None


def read_gate(text: str, name: str) -> list[Condition]:
    """A gate's conditions; empty lines and what follows a ``#`` are left out.

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
    """Each condition with its numbers.

    Args:
        conditions: The conditions, from ``read_gate``.
        version: The one that is to be released.
        scores: Version -> its scores by name; raises RefusedError where it has none.
        measured: (version, score) -> how it was measured.
        previous: What ``previous`` stands for, or None: there is none.

    Raises:
        RefusedError: a score is not there, is of several sets, or was measured otherwise for the other version.
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
    """A score's name, where the set may be called as its version calls it: ``ppl/web`` for ``ppl/v1-web``.

    Raises:
        RefusedError: there is none, or sets of several versions are called so.
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
