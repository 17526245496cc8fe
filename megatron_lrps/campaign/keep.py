"""Which checkpoints of a campaign gc keeps, and why. Pure: ``removal.py`` reads the disk and deletes.

The user chooses the policies. Checkpoints that something refers to (fork points, ends, pins) stay in any case, so no
policy can lose one of them. Only the fork point of a trained and released version may go, if the plan allows it
(``keep.released_forks: false``).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from megatron_lrps.plan import Tree
from megatron_lrps.plan.keys.launch_and_keep import Keep
from megatron_lrps.plan.paths import MAIN


class Policy(Protocol):
    """Decides which checkpoints of one path stay."""

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Return kept iteration -> why; ``checkpoints`` are the path's, rising."""
        ...


@dataclass(frozen=True, kw_only=True)
class LatestN:
    """The newest ``n`` checkpoints, at least 1, so that the one to resume from always stays."""

    n: int

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Return the last ``n`` of them."""
        kept = dict.fromkeys(checkpoints[-self.n :], f"among the newest {self.n}")
        return {**kept, **dict.fromkeys(checkpoints[-1:], "the newest")}


@dataclass(frozen=True, kw_only=True)
class EveryN:
    """The checkpoints at multiples of ``n`` iterations."""

    n: int

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Return the multiples of ``n`` among them."""
        return {each: f"every {self.n} iterations" for each in checkpoints if each % self.n == 0}


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """The checkpoints that something refers to: iteration -> what."""

    reasons: Mapping[int, str]

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Return those of them that something refers to."""
        return {each: self.reasons[each] for each in checkpoints if each in self.reasons}


@dataclass(frozen=True, kw_only=True)
class AnyOf:
    """The checkpoints that at least one policy keeps, with all reasons."""

    of: tuple[Policy, ...]

    def keeps(self, checkpoints: Sequence[int]) -> dict[int, str]:
        """Return the union."""
        reasons: defaultdict[int, list[str]] = defaultdict(list)
        for policy in self.of:
            for iteration, reason in policy.keeps(checkpoints).items():
                reasons[iteration].append(reason)
        return {iteration: "; ".join(all_of_them) for iteration, all_of_them in reasons.items()}


@dataclass(frozen=True, kw_only=True)
class PathOnDisk:
    """A path's folder as gc finds it.

    It is no ``Standing``: gc also judges paths that no plan names, and needs every file that may protect a checkpoint.

    Attributes:
        path: The path's name.
        complete: Iterations of its complete checkpoints, rising.
        torn: Iterations whose save was cut off or is still running, rising.
        damaged: Complete checkpoint -> the damage to its files, searched from the newest down to the oldest one
            that ``keep.latest`` counts.
        trash: Folder left by an interrupted gc -> its iteration.
        referred: Iteration -> what refers to it on this disk: a pin, Megatron's tracker file, a symbolic link.
        parent: The parent that its record (path.json) names, or None.
        fork: The fork iteration in its record.
        end: The end in its record, or None if it has none.
        released: Whether its version is released.
        mean: Whether it is a mean of checkpoints, by its record.
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
    mean: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """gc's decision on one checkpoint.

    Attributes:
        path: The path's name.
        iteration: The iteration of the checkpoint.
        trash: The name of its folder if an interrupted gc left it, else None.
        keep: Whether it stays.
        reason: Why it stays or goes.
        loses: What its removal makes impossible, in words; empty if it stays or was of no use.
    """

    path: str
    iteration: int
    trash: str | None = None
    keep: bool
    reason: str
    loses: str = ""


def decide(trees: Sequence[Tree], found: Sequence[PathOnDisk], keep: Keep) -> list[Verdict]:
    """Decide on every checkpoint of a campaign, path by path: each path's leftovers first, then rising.

    Args:
        trees: The trees of the given and the accepted plan; what either needs stays.
        found: The paths' folders on disk.
        keep: The plan's ``keep``.
    """
    needed, given_up = _needed(trees, found, keep)
    verdicts = []
    for each in found:
        verdicts += [
            Verdict(path=each.path, iteration=iteration, trash=name, keep=False, reason="left by an interrupted gc")
            for name, iteration in sorted(each.trash.items())
        ]
        if any(each.path in tree.by_name for tree in trees):
            kept, lost = _of_path(each, needed[each.path], keep)
        else:
            # The user may put the path back into the plan, and no plan says what its checkpoints are for.
            kept, lost = dict.fromkeys((*each.complete, *each.torn), f"no plan names {each.path}"), {}
        for iteration, reason in sorted((kept | lost).items()):
            keeps, released = iteration in kept, given_up[each.path].get(iteration, [])
            if released and not keeps:
                reason = f"given up by keep.released_forks: {', '.join(released)} forked off it"
            useful = not keeps and iteration not in each.torn
            loses = _loses(each.path, released) if useful else ""
            verdicts.append(Verdict(path=each.path, iteration=iteration, keep=keeps, reason=reason, loses=loses))
    return verdicts


def _loses(path: str, released: Sequence[str]) -> str:
    """Return what a whole checkpoint of ``path`` was for; ``released`` are the versions that forked off it."""
    anew = [f"{name} cannot be trained anew from its fork point" for name in released]
    off = f"no version can be cut off {path} there (lrps cut --at)" if path == MAIN else f"{path} cannot go back there"
    return "; ".join([*anew, off])


def _of_path(found: PathOnDisk, needed: Mapping[int, str], keep: Keep) -> tuple[dict[int, str], dict[int, str]]:
    """Return why each of a path's kept checkpoints stays, and why each of the others goes."""
    referring = (Pinned(reasons=needed), Pinned(reasons=found.referred))
    chosen: list[Policy] = [LatestN(n=keep.latest)]
    if keep.every is not None:
        chosen.append(EveryN(n=keep.every))
    whole = [iteration for iteration in found.complete if iteration not in found.damaged]
    kept = AnyOf(of=(*referring, *chosen)).keeps(whole)
    # Damaged ones do not count. They stay, in case somebody can fix them, until enough whole ones follow.
    damaged = Pinned(reasons={iteration: f"damaged: {what}" for iteration, what in found.damaged.items()})
    kept |= AnyOf(of=(damaged, *referring)).keeps(sorted(found.damaged))
    kept |= {iteration: f"torn; {why}" for iteration, why in AnyOf(of=referring).keeps(found.torn).items()}
    newest = max(whole, default=-1)
    for iteration in found.torn:
        if iteration > newest:
            kept.setdefault(iteration, "newer than any whole one: a save may be in progress")
    lost = dict.fromkeys(found.complete, "nothing needs it") | dict.fromkeys(found.torn, "torn: its save was cut off")
    return kept, {iteration: why for iteration, why in lost.items() if iteration not in kept}


def _needed(
    trees: Sequence[Tree], found: Sequence[PathOnDisk], keep: Keep
) -> tuple[defaultdict[str, dict[int, str]], defaultdict[str, defaultdict[int, list[str]]]]:
    """Find the fork points and ends among the checkpoints, by the plans and by the paths' own records.

    Returns:
        Path -> iteration -> why it is needed; and path -> iteration -> the released versions that forked off it but
        no longer need it, because the plan gives up their fork points.
    """
    by_name = {each.path: each for each in found}
    reasons: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    given_up: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))

    def need(path: str, iteration: int, reason: str) -> None:
        if reason not in reasons[path][iteration]:
            reasons[path][iteration].append(reason)

    def is_made(path: str, end: int | None) -> bool:
        child = by_name.get(path)
        return child is not None and end in child.complete and end not in child.damaged

    def need_fork(parent: str, fork: int, path: str, end: int | None, note: str = "") -> None:
        child = by_name.get(path)
        released = (
            child is not None
            and child.released
            and (child.parent, child.fork) == (parent, fork)  # another fork in the plan is a branch to train anew
            and is_made(path, end)
        )
        if keep.released_forks or note or not released:
            need(parent, fork, f"{path} forks off it{note}")
        elif path not in given_up[parent][fork]:
            given_up[parent][fork].append(path)

    for path in (path for tree in trees for path in tree.paths):
        need(path.name, path.end, f"the end of {path.name}")
        if path.mean:
            # Once the mean is made, nothing needs its parts any more.
            for part in path.mean if not is_made(path.name, path.end) else ():
                need(part.path, part.iteration, f"{path.name} is to be made of it")
        elif path.parent is not None:
            need_fork(path.parent, path.fork, path.name, path.end)
    for each in found:
        if each.end is not None:
            need(each.path, each.end, f"the end of {each.path}")
        removed = not any(each.path in tree.by_name for tree in trees)
        if each.parent is not None and not each.mean:
            need_fork(each.parent, each.fork, each.path, each.end, ", which no plan names any more" if removed else "")
    joined = {name: {at: "; ".join(texts) for at, texts in iterations.items()} for name, iterations in reasons.items()}
    return defaultdict(dict, joined), given_up
