"""``lrps eval``, ``lrps compare`` and ``lrps promote``: a version's scores, and its release."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.scores import read_results
from megatron_lrps.cli.export import refuse_unknown_dtype, say
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint, find_version_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.keys.scoring_and_release import Evaluation, Promotion


def eval_version(
    plan_file: Path,
    version: str,
    *,
    iteration: int | None,
    export: Path | None,
    given: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Score a version, and print the scores; ``given`` goes over the plan's ``evaluate``."""
    source = find_version_checkpoint(plan_file, version, iteration)
    asked, task_folder = _asked(source, given)
    from megatron_lrps.evaluate.scoring import evaluate  # torch comes with it

    results = evaluate(source, asked, task_folder=task_folder, export=export, say=say)
    if as_json:
        typer.echo(json.dumps({"file": str(results.file), **results.to_json()}, indent=2))
        return
    _print_scores(results.to_json())
    typer.echo(f"\n{results.file}")


def promote_version(
    plan_file: Path,
    version: str,
    *,
    iteration: int | None,
    gate: Path | None,
    despite: bool,
    check: bool | None,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Release a version; what is not given is the plan's ``promote`` and ``evaluate``."""
    refuse_unknown_dtype(dtype)
    source = find_version_checkpoint(plan_file, version, iteration)
    asked, task_folder = _asked(source, {})
    planned = source.tree.plan.promote or Promotion()
    if gate is None and planned.gate is not None:
        gate = planned.gate
    from megatron_lrps.evaluate.promotion import promote  # torch comes with it

    done = promote(
        source,
        asked,
        task_folder=task_folder,
        gate=gate,
        despite=despite,
        check=planned.check if check is None else check,
        dtype=dtype or planned.dtype,
        say=say,
    )
    if as_json:
        facts = {
            "version": source.version,
            "path": source.facts.name,
            "iteration": source.iteration,
            "export": str(done.export),
            "released_now": done.fresh,
            "gate": [str(each) for each in done.judged],
            "unmet": [str(each) for each in done.unmet],
            "results": done.results.to_json(),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    _print_scores(done.results.to_json())
    for each in done.judged:
        typer.echo(str(each))
    despite_it = ", although it does not meet its gate" if done.unmet else ""
    released = "is released" if done.fresh else "was released before"
    typer.echo(f"\n{source.version} {released}{despite_it}: {done.export}")


def compare_versions(plan_file: Path, paths: list[str], form: str) -> None:
    """Print the version table across paradigms with every score; ``form`` is text, csv, json, html or latex."""
    from megatron_lrps.monitor.score_table import FORMS, score_table
    from megatron_lrps.monitor.version_costs import version_costs

    if form not in FORMS:
        raise RefusedError(f"--format {form} is unknown.", f"give one of {', '.join(FORMS)}.")
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    versions = version_costs(Campaign(tree))
    names = [row.path for row in versions.rows]
    for wanted in paths:
        if wanted not in names and wanted not in {row.version for row in versions.rows}:
            raise RefusedError(f"{wanted} is no version or path of this plan.", f"name one of {', '.join(names)}.")
    results = {name: found for name in names if (found := read_results(campaign, name)) is not None}
    typer.echo(FORMS[form](score_table(versions, results, only=paths)), nl=False)


def _asked(source: VersionCheckpoint, given: Mapping[str, Any]) -> tuple[Evaluation, Path | None]:
    """The plan's ``evaluate`` with what the command line gives over it, and its task folder, absolute."""
    plan = source.tree.plan
    own = {key: value for key, value in given.items() if value is not None}
    folder = own.pop("task_folder", None)
    try:
        asked = Evaluation.model_validate(
            {
                **plan.evaluate.model_dump(exclude_unset=True),
                **own,
                **({"task_folder": Path(folder).resolve()} if folder else {}),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = "--" + "-".join(str(each) for each in first["loc"][:1]).replace("_", "-")
        raise RefusedError(f"{key if first['loc'] else 'evaluate'}: {first['msg']}.", "change that.") from None
    return asked, asked.task_folder


def _print_scores(results: Mapping[str, Any]) -> None:
    rows = [
        (name, _shown(found["perplexity"]), _shown(found["bits_per_byte"]), f"{found['tokens']:,}", found["engine"])
        for name, found in results["perplexity"].items()
    ]
    typer.echo(table(("validation set", "perplexity", "bits per byte", "tokens", "by"), rows))
    metrics = [
        (task, metric, _shown(value), _shown(found["metrics"].get(f"{metric}_stderr")))
        for task, found in results["tasks"].items()
        for metric, value in found["metrics"].items()
        if "_stderr" not in metric
    ]
    if metrics:
        typer.echo("\n" + table(("task", "metric", "value", "standard error"), metrics))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"
