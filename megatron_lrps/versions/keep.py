"""Which checkpoints of a campaign stay, and why. Pure: ``removal.py`` looks at the disk, and deletes.

The policies have orbax's names. They are the user's choice; beside them stays whatever something else refers to:
fork points, ends, pins. So that is no option, and no policy can be set that would lose one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from megatron_lrps.plan import Tree
from megatron_lrps.plan.model import Keep


class Policy(Protocol):
    """Says which checkpoints of one path stay."""

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Kept iteration -> why; ``checkpoints`` are the path's, rising."""
        ...


@dataclass(frozen=True, kw_only=True)
class LatestN:
    """The newest ``n``, at least 1: what a path resumes from is always among them."""

    n: int

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """The last ``n`` of them."""
        kept = dict.fromkeys(checkpoints[-self.n :], f"among the newest {self.n}")
        return {**kept, **dict.fromkeys(checkpoints[-1:], "the newest")}


@dataclass(frozen=True, kw_only=True)
class EveryN:
    """Those at multiples of ``n`` iterations."""

    n: int

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """The multiples among them."""
        return {each: f"every {self.n} iterations" for each in checkpoints if each % self.n == 0}


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """Those that something refers to: iteration -> what."""

    reasons: Mapping[int, str]

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Those of them that are named."""
        return {each: self.reasons[each] for each in checkpoints if each in self.reasons}


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """Those that at least one of the policies keeps, with the reasons of all."""

    of: tuple[Policy, ...]

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """The union."""
        reasons: defaultdict[int, list[str]] = defaultdict(list)
        for policy in self.of:
            for iteration, reason in policy.keeps(checkpoints).items():
                reasons[iteration].append(reason)
        return {iteration: "; ".join(all_of_them) for iteration, all_of_them in reasons.items()}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in a path's folder.

    Attributes:
        path: The path's name.
        complete: Iterations of its complete checkpoints, rising.
        torn: Iterations whose save was cut off, or goes on right now; rising.
        damaged: Complete one -> what is wrong with its files. Looked for from the newest down, to the oldest one that
            ``keep.latest`` counts.
        trash: Folders that an interrupted gc has left -> their iteration.
        referred: Iteration -> what on this disk refers to it: a pin, Megatron's tracker file, a symbolic link.
        parent: Of its record (path.json), or None where it has none.
        fork: Of its record.
        end: Of its record, or None where that does not say.
        released: Its version is.
    """

    path: str
    complete: tuple[int, ...] = ()
    torn: tuple[int, ...] = ()
    damaged: Mapping[int, str] = field(default_factory=dict)
    trash: Mapping[str, int] = field(default_factory=dict)
    referred: Mapping[int, str] = field(default_factory=dict)
    parent: str | None = None
    fork: int = 0
    end: int | None = None
    released: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What gc does with one checkpoint.

    Attributes:
        path: The path's name.
        iteration: The checkpoint's.
        trash: The name of its folder where an interrupted gc has left it, else None.
        keep: It stays.
        reason: Why it stays, or goes.
    """

    path: str
    iteration: int
    trash: str | None = None
    keep: bool
    reason: str


def decide(trees: Sequence[Tree], found: Sequence[Found], keep: Keep) -> list[Verdict]:
    """The verdict on every checkpoint of a campaign, path by path, each path's leftovers first and then rising.

    Args:
        trees: Of the plan that is given and of the accepted one: what either needs stays.
        found: What lies on disk.
        keep: The plan's ``keep``.
    """
    needed = _needed(trees, found)
    verdicts = []
    for each in found:
        verdicts += [
            Verdict(path=each.path, iteration=iteration, trash=name, keep=False, reason="left by an interrupted gc")
            for name, iteration in sorted(each.trash.items())
        ]
        if any(each.path in tree.by_name for tree in trees):
            kept, lost = _of_path(each, needed[each.path], keep)
        else:
            # Whoever took it from the plan may want it back, and no plan says what it is good for.
            kept, lost = dict.fromkeys((*each.complete, *each.torn), f"no plan names {each.path}"), {}
        verdicts += [
            Verdict(path=each.path, iteration=iteration, keep=iteration in kept, reason=reason)
            for iteration, reason in sorted((kept | lost).items())
        ]
    return verdicts


def _of_path(found: Found, needed: Mapping[int, str], keep: Keep) -> tuple[dict[int, str], dict[int, str]]:
    """Why each of a path's checkpoints stays, and why each of the others goes."""
    referring = (Pinned(reasons=needed), Pinned(reasons=found.referred))
    chosen: list[Policy] = [LatestN(n=keep.latest)]
    if keep.every is not None:
        chosen.append(EveryN(n=keep.every))
    whole = [iteration for iteration in found.complete if iteration not in found.damaged]
    kept = AnyOf(of=(*referring, *chosen)).keeps(whole)
    # Damaged ones do not count, and are left to whoever may mend them until enough whole ones have come after them.
    damaged = Pinned(reasons={iteration: f"damaged: {what}" for iteration, what in found.damaged.items()})
    kept |= AnyOf(of=(damaged, *referring)).keeps(sorted(found.damaged))
    kept |= {iteration: f"torn; {why}" for iteration, why in AnyOf(of=referring).keeps(found.torn).items()}
    newest = max(whole, default=-1)
    for iteration in found.torn:
        if iteration > newest:
            kept.setdefault(iteration, "newer than any whole one: a save may be in progress")
    lost = dict.fromkeys(found.complete, "nothing needs it") | dict.fromkeys(found.torn, "torn: its save was cut off")
    return kept, {iteration: why for iteration, why in lost.items() if iteration not in kept}


def _needed(trees: Sequence[Tree], found: Sequence[Found]) -> defaultdict[str, dict[int, str]]:
    """Path -> iteration -> whose fork point or end it is, by the plans and by what the paths' own records say."""
    by_name = {each.path: each for each in found}
    reasons: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))

    def need(path: str, iteration: int, reason: str) -> None:
        if reason not in reasons[path][iteration]:
            reasons[path][iteration].append(reason)

    def finished(path: str, end: int | None) -> bool:  # a branch can be trained anew until its version is released
        child = by_name.get(path)
        return child is not None and child.released and end in child.complete and end not in child.damaged

    for path in (path for tree in trees for path in tree.paths):
        need(path.name, path.end, f"the end of {path.name}")
        if path.parent is not None and not finished(path.name, path.end):
            need(path.parent, path.fork, f"{path.name} forks off it")
    for each in found:
        if each.end is not None:
            need(each.path, each.end, f"the end of {each.path}")
        removed = not any(each.path in tree.by_name for tree in trees)
        if each.parent is not None and (removed or not finished(each.path, each.end)):
            unknown = ", which no plan names any more" if removed else ""
            need(each.parent, each.fork, f"{each.path} forks off it{unknown}")
    joined: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for name, iterations in reasons.items():
        joined[name] = {iteration: "; ".join(texts) for iteration, texts in iterations.items()}
    return joined
