"""A budget: which versions of a plan are branches, by which alpha, and which are merges, for a share of PTFS's cost.

Main reads every window once, which costs as many iterations as the last version's end. A merge costs nothing besides,
a branch alpha T, and the branch of the last version nothing while no further version is planned: main stops at its
fork. What is left of the budget is therefore spent on the branches of the versions before the last one. Pure: the
losses that a choice would give come from outside, if they are known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.paths import Tree
from megatron_lrps.schedule.paradigms import branch_length

ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.6)
"""The alphas that a forecast chooses from. Longer decays gained less than 0.4 % in the studies of docs/results.md."""
Loss = Callable[[str, float | None], float | None]
"""(version, alpha, or None for a merge) -> the loss that it would give, in nats a token; None if that is not known."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a budget makes of one version.

    Attributes:
        version: The version.
        alpha: The alpha of its branch; None for a merge.
        iterations: What the choice costs besides main.
        why: The reason, in words.
    """

    version: str
    alpha: float | None
    iterations: int
    why: str

    @property
    def keys(self) -> dict[str, object]:
        """The keys of the version that say so in the plan."""
        return {"merge": True} if self.alpha is None else {"merge": False, "decay": {"alpha": self.alpha}}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The choices for all versions of a plan.

    Attributes:
        choices: One for each planned version, in their order.
        iterations: What all versions cost together.
        ptfs: What PTFS costs.
    """

    choices: tuple[Choice, ...]
    iterations: int
    ptfs: int


def spend(tree: Tree, share: float, *, fixed: Mapping[str, str], loss: Loss) -> Budget:
    """Choose for each version of a plan, so that all cost at most ``share`` of PTFS's iterations.

    Args:
        tree: The plan's tree.
        share: The budget.
        fixed: The versions that can no longer be changed, and why.
        loss: The losses to expect. Where they are not known, the newest versions become branches first.

    Raises:
        PlanError: The plan has no main path, or even merges alone cost more than the budget.
    """
    if not any(path.kind == "main" for path in tree.paths):
        raise PlanError("--budget chooses branches and merges of a main path, and the plan has none.", "use lrps.")
    if soup := next((path for path in tree.paths if path.strand), None):
        raise PlanError(
            f"--budget chooses single branches, and {soup.branch_of} is a soup of several.", "remove branch.soup first."
        )
    ends = [end for _, end in tree.planned_ends]
    ptfs, least = sum(ends), ends[-1] - tree.adopted_iterations
    names = [name for name, _ in tree.planned_ends]
    choices = {name: _fixed(tree, name, why) for name, why in fixed.items()}
    spent = least + sum(choice.iterations for name, choice in choices.items() if name != names[-1])
    allowed = int(Decimal(repr(share)) * ptfs)  # exact: 0.58 of 100,000 is 58,000
    if allowed < spent:
        needs = "main and the branches that are trained take" if spent > least else "main takes"
        raise PlanError(
            f"--budget {share:g} of PTFS is {allowed:,} iterations, and {needs} {spent:,}.",
            f"give {spent / ptfs + 0.00499:.2f} or more.",
        )
    open_ = [name for name in names if name not in choices]
    if open_ and open_[-1] == names[-1]:
        choices[open_.pop()] = _last(tree, names[-1], loss)
    choices |= _spread(tree, open_, allowed - spent, loss)
    total = least + sum(choice.iterations for name, choice in choices.items() if name != names[-1])
    return Budget(choices=tuple(choices[name] for name in names), iterations=total, ptfs=ptfs)


def _fixed(tree: Tree, name: str, why: str) -> Choice:
    path = next(each for each in tree.paths if each.paradigm == "lrps" and each.version == name)
    alpha = None if path.mean else round(path.iterations / _length(tree, name), 4)
    return Choice(version=name, alpha=alpha, iterations=path.iterations, why=why)


def _last(tree: Tree, name: str, loss: Loss) -> Choice:
    """Return the choice for the last version, whose branch costs nothing."""
    known = {alpha: found for alpha in (None, *ALPHAS) if (found := loss(name, alpha)) is not None}
    if known:
        alpha = min(known, key=lambda each: known[each])
        return Choice(version=name, alpha=alpha, iterations=0, why=f"the forecast is best: {known[alpha]:.4f}")
    alpha = _planned_alpha(tree, name)
    return Choice(version=name, alpha=alpha, iterations=0, why="the last version's branch costs nothing besides main")


def _spread(tree: Tree, names: Sequence[str], left: int, loss: Loss) -> dict[str, Choice]:
    """Return the choices for versions before the last one, within so many iterations besides main."""
    if all(loss(name, None) is not None for name in names):
        return _by_forecast(tree, names, left, loss)
    found: dict[str, Choice] = {}
    for name in reversed(names):
        alpha = _planned_alpha(tree, name)
        length = branch_length(alpha, _length(tree, name))
        if length <= left:
            why = "of the versions before the last one, the newest become branches first"
            found[name] = Choice(version=name, alpha=alpha, iterations=length, why=why)
            left -= length
        else:
            # A branch whose alpha was cut down to fit was worse than a merge (docs/results.md, `budget`).
            branch = f"a branch of alpha {alpha:g} takes {length:,}, and {left:,} are left"
            why = f"a merge costs nothing besides main; {branch}"
            found[name] = Choice(version=name, alpha=None, iterations=0, why=why)
    return found


def _by_forecast(tree: Tree, names: Sequence[str], left: int, loss: Loss) -> dict[str, Choice]:
    """Turn merges into branches one after another, each time where an iteration lowers the forecast most."""
    alphas: dict[str, float | None] = dict.fromkeys(names)
    losses = {name: loss(name, None) or 0.0 for name in names}

    def cost(name: str, alpha: float | None) -> int:
        return 0 if alpha is None else branch_length(alpha, _length(tree, name))

    while True:
        better = [
            ((losses[name] - found) / extra, name, alpha, found, extra)
            for name in names
            for alpha in ALPHAS
            if 0 < (extra := cost(name, alpha) - cost(name, alphas[name])) <= left
            and (found := loss(name, alpha)) is not None
            and found < losses[name]
        ]
        if not better:
            break
        _, name, alphas[name], losses[name], extra = max(better)
        left -= extra
    why = "by the forecast, no branch within the budget is better"
    return {
        name: Choice(
            version=name,
            alpha=alpha,
            iterations=cost(name, alpha),
            why=why if alpha is None else f"an iteration lowers the forecast most here, to {losses[name]:.4f}",
        )
        for name, alpha in alphas.items()
    }


def _length(tree: Tree, name: str) -> int:
    return next(window.iterations for window in tree.windows if window.version.name == name)


def _planned_alpha(tree: Tree, name: str) -> float:
    return next(tree.plan.decay_of(version).alpha for version in tree.plan.versions if version.name == name)
