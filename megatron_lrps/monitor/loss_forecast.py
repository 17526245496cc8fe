"""The final losses that other alphas and shapes would give, by the annealing law fitted to a campaign's logs.

Losses are training losses in nats a token, and a final loss is the mean over a branch's last iterations. The error is
measured: the law is fitted without a finished branch, and then has to predict it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ValidationError

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.annealing import Law, fit
from megatron_lrps.monitor.forecast_logs import Logs
from megatron_lrps.plan import PlannedPath, Window
from megatron_lrps.plan.keys.rates import Decay
from megatron_lrps.plan.paths import MAIN
from megatron_lrps.schedule.paradigms import Branch, branch_length, branch_schedule

ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A finished branch, and its prediction by a law that was fitted without it.

    Attributes:
        path: The branch.
        observed: The final loss of the branch.
        predicted: The final loss by the law.
        gain: How far the branch was below main on the same samples; None if main has not read them.
        predicted_gain: How far it is below main by the law.
    """

    path: str
    observed: float
    predicted: float
    gain: float | None
    predicted_gain: float | None

    @property
    def error(self) -> float:
        """The predicted less the observed loss, in nats a token."""
        return self.predicted - self.observed


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The result that one alpha and shape would give.

    Attributes:
        version: The name of the version.
        shape: The decay's shape.
        alpha: The decay's share of the version's iterations.
        fork: The iteration of main that the branch would fork at.
        iterations: The length of the branch.
        loss: The branch's final loss; None if it cannot be trained.
        why_not: Why it cannot be trained, or None.
        planned: Whether the plan has this shape and alpha.
    """

    version: str
    shape: str
    alpha: float
    fork: int
    iterations: int
    loss: float | None
    why_not: str | None
    planned: bool


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A campaign's forecasts, and the fit that they rest on.

    Attributes:
        campaign: The campaign's name.
        law: The law, fitted to all that is logged.
        since: The iteration after which losses were fitted.
        reached: Main's last logged iteration.
        branches: The branches that were fitted beside main.
        checked: The finished branches, each predicted without itself; empty if fewer than two are finished.
        forecasts: The forecasts, sorted by version, shape and alpha.
        notes: Sentences that the reader must know.
    """

    campaign: str
    law: Law
    since: int
    reached: int
    branches: tuple[str, ...]
    checked: tuple[Checked, ...]
    forecasts: tuple[Forecast, ...]
    notes: tuple[str, ...]

    @property
    def error(self) -> float | None:
        """The root mean square of the errors on finished branches; None if it is unknown."""
        return _rms([each.error for each in self.checked])

    @property
    def gain_error(self) -> float | None:
        """The root mean square of the errors in how far they are below main; None if it is unknown."""
        gains = ((each.predicted_gain, each.gain) for each in self.checked)
        return _rms([predicted - gain for predicted, gain in gains if predicted is not None and gain is not None])


def forecast(
    campaign: Campaign, *, alphas: Sequence[float] = (), shapes: Sequence[str] = (), versions: Sequence[str] = ()
) -> Outlook:
    """Fit the law to a campaign's logs, and predict its next versions.

    Args:
        campaign: The campaign.
        alphas: Decay shares; ``ALPHAS`` if it is empty.
        shapes: Decay shapes; each version's own if it is empty.
        versions: The versions to predict; if it is empty, those whose branches are not finished, or the last one.

    Raises:
        RefusedError: There is no main path, too little of it is logged, or an event file cannot be read.
    """
    logs, tree = Logs(campaign), campaign.tree
    law = fit(list(logs.pieces.values()))
    checked = tuple(_check(logs, branch) for branch in logs.finished) if len(logs.finished) > 1 else ()
    left = [branch for branch in logs.branches if branch not in logs.finished]
    named: set[str | None] = {*versions} or {branch.version for branch in left}
    windows = [window for window in tree.windows if window.version.name in named]
    outlook = Outlook(
        campaign=tree.plan.campaign,
        law=law,
        since=logs.since,
        reached=logs.reached,
        branches=tuple(name for name in logs.pieces if name != MAIN),
        checked=checked,
        forecasts=tuple(
            _ask(logs, law, window, shape, alpha)
            for window in windows or tree.windows[-1:]
            for shape in shapes or (tree.plan.decay_of(window.version).shape,)
            for alpha in alphas or ALPHAS
        ),
        notes=(),
    )
    return replace(outlook, notes=tuple(_notes(outlook, logs, future=bool(windows))))


def _rms(errors: Sequence[float]) -> float | None:
    return math.sqrt(sum(error**2 for error in errors) / len(errors)) if errors else None


def _check(logs: Logs, branch: PlannedPath) -> Checked:
    law = fit([each for name, each in logs.pieces.items() if name != branch.name])
    window = next((each for each in logs.tree.windows if each.version.name == branch.version), None)
    last = logs.last(window.iterations if window else branch.iterations, branch.iterations)
    since = branch.end - last
    own = {step: loss for step, loss in logs.series[branch.name] if step > since}
    mains = dict(logs.series[MAIN])
    at = np.array(sorted(own)) - 1
    predicted = law.losses(logs.pieces[branch.name].rates)[at]
    held = law.losses(logs.rates(logs.main.schedule, 0, branch.end))[at]
    both = all(step in mains for step in own)
    return Checked(
        path=branch.name,
        observed=float(np.mean(list(own.values()))),
        predicted=float(predicted.mean()),
        gain=float(np.mean([mains[step] - loss for step, loss in own.items()])) if both else None,
        predicted_gain=float((held - predicted).mean()) if both else None,
    )


def _ask(logs: Logs, law: Law, window: Window, shape: str, alpha: float) -> Forecast:
    plan, version = logs.plan, window.version
    own = plan.decay_of(version)
    length = branch_length(alpha, window.iterations)
    fork, warm = window.end - length, logs.batches.iteration(logs.main.schedule.warmup)
    loss = why_not = None
    if length < 1:
        why_not = "less than one iteration"
    elif fork < max(warm, 1):
        why_not = f"would fork at {fork}, and the warm-up ends at {warm}" if fork < warm else "would fork off nothing"
    else:
        try:
            decay = own if shape == own.shape else Decay(shape=shape)
            branch = Branch(name=version.name, fork=fork, end=window.end, decay=decay.spec())
            rates = logs.rates(branch_schedule(logs.main.schedule, branch, batches=logs.batches), fork, window.end)
            loss = float(law.losses(rates)[-logs.last(window.iterations, length) :].mean())
        except ValidationError as error:
            raise RefusedError(f"{shape!r} {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None
        except ValueError as error:
            why_not = str(error)
    return Forecast(
        version=version.name,
        shape=shape,
        alpha=alpha,
        fork=fork,
        iterations=length,
        loss=loss,
        why_not=why_not,
        planned=shape == own.shape and alpha == own.alpha,
    )


def _notes(outlook: Outlook, logs: Logs, *, future: bool) -> list[str]:
    notes = []
    if logs.apart:
        notes.append(
            f"Not fitted, because they read data of their own (branch.data): {', '.join(logs.apart)}. Forecasts are "
            "for branches that read on in their window, as main does."
        )
    if outlook.law.gain is None:
        notes.append(
            "No branch has logged enough to fit: a constant learning rate does not tell what annealing gains (C). "
            "C = 0 is assumed, so the losses are upper bounds, and do not tell which alpha or shape is best."
        )
    if not outlook.checked:
        count = len(logs.finished)
        have = "no branch is finished yet" if not count else "one branch is finished, and the fit needs it for C"
        notes.append(f"The error is unknown: {have}.")
    # A window's difficulty moves all of its losses; alphas differ by how far they are below main.
    limit = outlook.gain_error if outlook.gain_error is not None else outlook.error
    for version in dict.fromkeys(each.version for each in outlook.forecasts):
        losses = [each.loss for each in outlook.forecasts if each.version == version and each.loss is not None]
        if limit is not None and len(losses) > 1 and (spread := max(losses) - min(losses)) < limit:
            what = "below main" if outlook.gain_error is not None else "of final losses"
            notes.append(
                f"For {version} these differ by {spread:.4f}, less than the error {what}, {limit:.4f}: which is best "
                "is not known."
            )
    if not future:
        notes.append("Every version is trained: this is what the last one would have been.")
    notes.append("A window whose data are harder or easier than those before it shifts all of its losses alike.")
    return notes
