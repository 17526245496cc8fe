"""``lrps forecast``: the loss that other alphas and decay shapes would give, and how well that holds."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.schedule import SHAPES

if TYPE_CHECKING:
    from megatron_lrps.monitor.loss_forecast import Checked, Outlook


def forecast(
    plan: PlanArgument,
    alpha: Annotated[
        list[float] | None, typer.Option("--alpha", help="A decay share to try; give it again for more.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="A decay shape to try; give it again for more.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the loss for other alphas and decay shapes.

    The error that the prediction has on finished branches is shown with it.
    """
    alphas, shapes = alpha or (), shape or ()
    if wrong := [each for each in alphas if not 0 < each <= 1]:
        raise RefusedError(f"--alpha {wrong[0]:g} is not a share of a version's iterations.", "give one in (0, 1].")
    if unknown := [each for each in shapes if each not in SHAPES]:
        raise RefusedError(f"--shape {unknown[0]} is not a decay shape.", f"choose one of {', '.join(SHAPES)}.")
    campaign = Campaign.open(plan)
    try:
        from megatron_lrps.monitor import loss_forecast
    except ImportError as error:
        raise RefusedError(
            f"{error.name} cannot be imported: {error}.", f"install it: pip install {error.name}."
        ) from None
    outlook = loss_forecast.forecast(campaign, alphas=alphas, shapes=shapes)
    typer.echo(_as_json(outlook) if as_json else _as_text(outlook))


def _as_text(outlook: "Outlook") -> str:
    law = outlook.law
    gain = "C unknown, taken as 0" if law.gain is None else f"C {law.gain:.4g}, lambda {law.momentum:g}"
    fitted = ", ".join(("main", *outlook.branches))
    lines = [
        f"{outlook.campaign}: training losses in nats a token; main is logged to iteration {outlook.reached:,}",
        f"law     L = L0 + A S1^-a - C S2 (arXiv 2408.11029): L0 {law.floor:.4g}, A {law.scale:.4g}, "
        f"a {law.exponent:.3g}, {gain}",
        f"fitted  to {fitted} after iteration {outlook.since:,}; residuals {100 * law.residual:.2f} %",
        "",
    ]
    bound = "at most" if law.gain is None else "final loss"
    error = "unknown" if outlook.error is None else f"± {outlook.error:.4f}"
    rows = []
    for each in outlook.forecasts:
        version = f"{each.version}{' (planned)' if each.planned else ''}"
        cells = (f"cannot be: {each.why_not}", "-") if each.loss is None else (f"{each.loss:.4f}", error)
        rows.append((version, each.shape, f"{each.alpha:g}", each.fork, each.iterations, *cells))
    lines.append(table(("version", "shape", "alpha", "fork", "iterations", bound, "error"), rows))
    if outlook.checked:
        headers = ("branch", "observed", "predicted without it", "error", "below main", "predicted")
        lines += ["", table(headers, [_checked(each) for each in outlook.checked])]
        gains = "" if outlook.gain_error is None else f", below main {outlook.gain_error:.4f}"
        lines.append(f"\nroot mean square: {outlook.error:.4f}{gains}")
    return "\n".join([*lines, "", *outlook.notes])


def _checked(each: "Checked") -> tuple[str, ...]:
    gains = ("-" if gain is None else f"{gain:.4f}" for gain in (each.gain, each.predicted_gain))
    share = 100 * each.error / each.observed
    return (each.path, f"{each.observed:.4f}", f"{each.predicted:.4f}", f"{each.error:+.4f} ({share:+.2f} %)", *gains)


def _as_json(outlook: "Outlook") -> str:
    facts = asdict(outlook)
    facts["checked"] = [{**asdict(each), "error": each.error} for each in outlook.checked]
    return json.dumps({**facts, "error": outlook.error, "gain_error": outlook.gain_error}, indent=2)
