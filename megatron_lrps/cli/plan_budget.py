"""`lrps plan --budget`: which versions become branches and which merges, and the keys that say so in the plan."""

from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan.budget import ALPHAS, Budget, Loss, spend
from megatron_lrps.plan.keys.merging import Merge


def budget_of(campaign: Campaign, share: float) -> tuple[Budget, str]:
    """Return the choices, and a sentence on what they rest on; raises PlanError and RefusedError."""
    if (batches := campaign.tree.batches).rises:
        raise RefusedError(
            f"--budget shares out iterations of one batch, but the batch is {batches.words}.", "plan without it."
        )
    loss, basis = _forecast(campaign)
    return spend(campaign.tree, share, fixed=_fixed(campaign), loss=loss), basis


def _fixed(campaign: Campaign) -> dict[str, str]:
    """Return the versions that have begun, or whose fork point main has passed, and why they stay as they are."""
    main = next((path for path in campaign.paths if path.kind == "main"), None)
    reached = standing_of(campaign, main).saved or 0 if main else 0
    found = {}
    for path in campaign.paths:
        if path.paradigm != "lrps" or path.version is None or path.version in {cut.name for cut in campaign.plan.cuts}:
            continue
        if standing_of(campaign, path).done:
            found[path.version] = "it is trained"
        elif reached >= path.fork:
            found[path.version] = f"main has come to {reached:,}, past where it begins"
    return found


def _forecast(campaign: Campaign) -> tuple[Loss, str]:
    """Return the losses that the annealing law forecasts, and a sentence on it; unknown losses without a log.

    A merge is taken for the decay of its weights over its window, which it stands for (arXiv 2507.17634).
    """
    try:
        from megatron_lrps.monitor import loss_forecast

        plan, ends = campaign.plan, dict(campaign.tree.planned_ends)
        merges = {version.name: plan.merge_of(version) or Merge() for version in plan.versions}
        lengths = {window.version.name: window.iterations for window in campaign.tree.windows}
        alike = {name: merge.window * ends[name] / lengths[name] for name, merge in merges.items()}
        outlook = loss_forecast.forecast(campaign, alphas=(*ALPHAS, *alike.values()), versions=[*ends])
    except (RefusedError, ImportError) as error:
        said = error.what if isinstance(error, RefusedError) else f"{error}."
        return (lambda version, alpha: None), f"No forecast is there, so stated defaults were taken: {said}"
    known = {(each.version, each.alpha): each.loss for each in outlook.forecasts}
    accuracy = "unknown" if outlook.error is None else f"{outlook.error:.4f}"
    return (
        lambda version, alpha: known.get((version, alike[version] if alpha is None else alpha)),
        f"By `lrps forecast`, from main's log to iteration {outlook.reached:,}; its error on finished branches: "
        f"{accuracy}.",
    )


def budget_facts(found: Budget, basis: str) -> dict[str, Any]:
    """Return the choices as `lrps plan --json` prints them."""
    return {
        "iterations": found.iterations,
        "of_ptfs": found.iterations / found.ptfs,
        "basis": basis,
        "versions": [
            {
                "version": each.version,
                "alpha": each.alpha,
                "iterations": each.iterations,
                "why": each.why,
                "keys": each.keys,
            }
            for each in found.choices
        ],
    }


def budget_text(facts: dict[str, Any]) -> str:
    """Return the same for a terminal."""
    rows = [
        (
            each["version"],
            "a merge" if each["alpha"] is None else f"a branch, alpha {each['alpha']:g}",
            f"{each['iterations']:,}",
            each["why"],
        )
        for each in facts["versions"]
    ]
    lines = [
        f"With this budget: {facts['iterations']:,} iterations, {facts['of_ptfs']:.1%} of PTFS. {facts['basis']}",
        "",
        table(("version", "becomes", "besides main", "why"), rows),
        "",
        "Nothing is changed. Put these keys into the plan:",
        *(f"  versions.{each['version']}: {_flow(each['keys'])}" for each in facts["versions"]),
    ]
    return "\n".join(lines)


def _flow(keys: dict[str, Any]) -> str:
    words = [f"{key}: {_flow(value) if isinstance(value, dict) else str(value).lower()}" for key, value in keys.items()]
    return "{" + ", ".join(words) + "}"
