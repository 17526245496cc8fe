"""The annealing law of arXiv 2408.11029: the loss that a learning-rate curve leads to.

    L(s) = L0 + A * S1(s)^-alpha - C * S2(s)

S1 is the sum of learning rates up to iteration s, the area under the curve. S2 is the annealing area: the sum of a
momentum m that takes up every fall of the learning rate and forgets by a factor lambda an iteration,
m(i) = lambda m(i - 1) + eta(i - 1) - eta(i). Learning rates count as shares of the maximal one here, so S1 and S2 are
in iterations at the maximum. The warm-up's rise is no annealing: m is 0 until it ends.

For a given alpha and lambda the law is linear in L0, A and C. So both are searched on a grid that is refined, and the
other three solved for by weighted least squares, none negative; weights make it Huber's robust loss on the relative
residuals, which are those of log loss for residuals as small as these.

The difficulty of a window's data moves its losses more than annealing does. A branch reads the samples that main reads,
so if main has read them too, a branch is fitted by how far its loss is from main's: data do not move that.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOMENTA = (0.0, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
"""The values of lambda that are tried. The paper finds 0.99 to 0.999 over tens of thousands of iterations. The loss of
a short campaign follows its learning rate at once, which is 0."""
EXPONENTS = (0.02, 2.0)
"""The search range of alpha."""
_HUBER = 1.345
"""Huber's threshold in robust standard deviations: 95 % of least squares' efficiency on normal noise."""
_ROUNDS = 6
_ALIKE = 0.01
"""Relative residuals up to this are judged by their squares."""
_TINY = 1e-9
"""The least S1: the learning rate of a first iteration may be 0."""


@dataclass(frozen=True)
class Rates:
    """The learning rate of every iteration of a path from its first on, ancestors included.

    Args:
        shares: Learning rates as shares of the maximum, [iterations].
        warm: The number of warm-up iterations.
    """

    shares: Floats
    warm: int

    @cached_property
    def forward(self) -> Floats:
        """S1 after each iteration."""
        return np.cumsum(self.shares)

    def annealing(self, momentum: float) -> Floats:
        """Return S2 after each iteration, for one lambda."""
        falls = -np.diff(self.shares, prepend=self.shares[:1])
        falls[: self.warm + 1] = 0.0
        area = np.zeros_like(falls)
        moving = np.flatnonzero(falls)
        if moving.size:
            value = total = 0.0
            for index in range(int(moving[0]), len(falls)):
                value = momentum * value + falls[index]
                total += value
                area[index] = total
        return area


@dataclass(frozen=True)
class Pieces:
    """Logged losses of one path, averaged over pieces of some iterations.

    Args:
        name: The path's name.
        rates: The path's learning rates.
        edges: [pieces, 2], the iterations (first, last) of each piece.
        losses: [pieces], mean losses in nats a token.
        mains: [pieces], main's mean losses on the same samples; then the difference to them is fitted.
        main_rates: Main's learning rates, with ``mains``.
    """

    name: str
    rates: Rates
    edges: NDArray[np.int64]
    losses: Floats
    mains: Floats | None = None
    main_rates: Rates | None = None

    @property
    def middle(self) -> NDArray[np.int64]:
        """The iteration in the middle of each piece, counted from 0."""
        return np.asarray(self.edges.sum(axis=1) // 2 - 1)

    def annealing(self, momentum: float) -> Floats:
        """Return the mean S2 of each piece."""
        total = np.concatenate(([0.0], np.cumsum(self.rates.annealing(momentum))))
        first, last = self.edges.T
        return np.asarray((total[last] - total[first - 1]) / (last - first + 1))


@dataclass(frozen=True, kw_only=True)
class Law:
    """A fitted law.

    Attributes:
        floor: L0, in nats a token.
        scale: A, in nats a token, at S1 = 1 iteration at the maximum.
        exponent: alpha of the law.
        gain: C, in nats a token for each iteration at the maximum of S2; None if no fitted path had annealed,
            and 0 is assumed.
        momentum: lambda; None with ``gain``.
        residual: Root mean square of the relative residuals, of differences too as shares of the loss.
    """

    floor: float
    scale: float
    exponent: float
    gain: float | None
    momentum: float | None
    residual: float

    def losses(self, rates: Rates) -> Floats:
        """Return the loss of every iteration of a curve."""
        losses = self.floor + self.scale * np.maximum(rates.forward, _TINY) ** -self.exponent
        if self.gain is not None and self.momentum is not None:
            losses = losses - self.gain * rates.annealing(self.momentum)
        return np.asarray(losses)


def fit(paths: Sequence[Pieces]) -> Law:
    """Fit the law to the losses of paths that share a model, a maximal learning rate and a kind of data.

    Args:
        paths: Pieces of at least one path that is fitted by its own losses. If none has annealed, C is not fitted.
    """
    equations = _Equations.of(paths)
    annealed = any(path.annealing(0.0).any() for path in paths)
    best: tuple[float, float, Floats, float | None, Floats | None] | None = None
    for momentum in MOMENTA if annealed else (None,):
        area = None if momentum is None else np.concatenate([path.annealing(momentum) for path in paths])
        low, high = EXPONENTS
        for _ in range(3):  # each round looks more closely around the best so far
            exponents = np.geomspace(low, high, 15)
            found = [_solve(equations.design(exponent, area), equations.target) for exponent in exponents]
            index = int(np.argmin([cost for cost, _ in found]))
            low, high = exponents[max(0, index - 1)], exponents[min(len(exponents) - 1, index + 1)]
            if best is None or found[index][0] < best[0]:
                best = (found[index][0], float(exponents[index]), found[index][1], momentum, area)
    assert best is not None
    _, exponent, solved, momentum, area = best
    errors = equations.design(exponent, area) @ solved - equations.target
    return Law(
        floor=float(solved[0]),
        scale=float(solved[1]),
        exponent=exponent,
        gain=None if momentum is None else float(solved[2]),
        momentum=momentum,
        residual=float(np.sqrt(np.mean(errors**2))),
    )


@dataclass(frozen=True)
class _Equations:
    """An equation for each piece of each path, in shares of the loss there: its target, and its terms in the law."""

    target: Floats
    loss: Floats
    own: Floats  # 1 where a loss is fitted, 0 where a difference to main's
    forward: Floats
    main_forward: Floats

    @classmethod
    def of(cls, paths: Sequence[Pieces]) -> "_Equations":
        target, loss, own, forward, main_forward = [], [], [], [], []
        for path in paths:
            alone = path.mains is None or path.main_rates is None
            mains = np.zeros_like(path.losses) if path.mains is None else path.mains
            loss.append(path.losses)
            target.append((path.losses - mains) / path.losses)
            own.append(np.full_like(path.losses, float(alone)))
            forward.append(path.rates.forward[path.middle])
            main_forward.append(forward[-1] if path.main_rates is None else path.main_rates.forward[path.middle])
        return cls(*(np.concatenate(each) for each in (target, loss, own, forward, main_forward)))

    def design(self, exponent: float, area: Floats | None) -> Floats:
        """Return [pieces, coefficients L0, A and, if there is an area, C], as shares of the loss."""
        power = self.forward**-exponent - (1.0 - self.own) * self.main_forward**-exponent
        columns = [self.own, power, *([] if area is None else [-area])]
        return np.stack(columns, axis=1) / self.loss[:, None]


def _solve(design: Floats, target: Floats) -> tuple[float, Floats]:
    """Return (Huber cost, coefficients) of the best law with this design."""
    coefficients = _not_negative(design, target, np.ones_like(target))
    for _ in range(_ROUNDS):
        errors = np.abs(design @ coefficients - target)
        limit = _HUBER * 1.4826 * float(np.median(errors)) + 1e-12
        coefficients = _not_negative(design, target, np.minimum(1.0, limit / np.maximum(errors, 1e-15)))
    errors = np.abs(design @ coefficients - target)
    # One threshold for all exponents, or the worse fit would be judged by the wider one.
    cost = np.where(errors <= _ALIKE, 0.5 * errors**2, _ALIKE * (errors - 0.5 * _ALIKE)).sum()
    return float(cost), coefficients


def _not_negative(design: Floats, target: Floats, weights: Floats) -> Floats:
    """Solve ``design @ x = target`` by weighted least squares, no x below 0, trying every choice of the few columns."""
    root = np.sqrt(weights)
    matrix, wanted = design * root[:, None], target * root
    count = matrix.shape[1]
    normal, right = matrix.T @ matrix, matrix.T @ wanted
    best, least = np.zeros(count), np.inf
    for size in range(count, 0, -1):
        for chosen in itertools.combinations(range(count), size):
            solved = np.zeros(count)
            solved[list(chosen)] = np.linalg.lstsq(normal[np.ix_(chosen, chosen)], right[list(chosen)], rcond=None)[0]
            cost = float(((matrix @ solved - wanted) ** 2).sum())
            if cost < least and not (solved < 0).any():
                best, least = solved, cost
        if least < np.inf:
            break
    return best
