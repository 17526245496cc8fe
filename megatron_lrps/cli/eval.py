"""``lrps eval``: scores a version by perplexity and by lm-eval's tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from megatron_lrps.cli.options import IterationOption, JsonOption, PlanArgument, VersionArgument
from megatron_lrps.cli.printing import print_json, print_scores, say
from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.keys.scoring_and_release import Evaluation


def eval(
    plan: PlanArgument,
    version: VersionArgument,
    engine: Annotated[str | None, typer.Option(help="export (transformers) or megatron (on the CPU).")] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many tokens of a validation set.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="The tasks of lm-eval, separated by commas.")] = None,
    task_folder: Annotated[
        Path | None, typer.Option(help="A folder of your own task files; nothing is downloaded then.")
    ] = None,
    few_shot: Annotated[int | None, typer.Option(min=0, help="How many examples come before each question.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read at most this many documents of a task.")] = None,
    backend: Annotated[str | None, typer.Option(help="What runs the tasks: hf or vllm.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="The batch size of the tasks.")] = None,
    export: Annotated[Path | None, typer.Option(help="The export to score; <save>/exports/VERSION by default.")] = None,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a version on validation sets and lm-eval's tasks.

    Validation sets give perplexity and bits per byte. Other values come from `evaluate` in the plan.
    """
    given = {
        "engine": engine,
        "tokens": tokens,
        "tasks": tasks and tuple(tasks.split(",")),
        "task_folder": task_folder and task_folder.resolve(),
        "few_shot": few_shot,
        "limit": limit,
        "backend": backend,
        "batch_size": batch_size,
    }
    found = find_version_checkpoint(plan, version, iteration)
    asked = _asked(found.campaign.plan.evaluate, given)
    from megatron_lrps.evaluate.scoring import evaluate  # torch comes with it

    results = evaluate(found, asked, task_folder=asked.task_folder, export=export, say=say)
    if as_json:
        print_json({"file": str(results.file), **results.to_json()})
        return
    print_scores(results.to_json())
    typer.echo(f"\n{results.file}")


def _asked(planned: Evaluation, given: Mapping[str, Any]) -> Evaluation:
    """The plan's ``evaluate`` with what the command line gives over it."""
    own = {key: value for key, value in given.items() if value is not None}
    try:
        return Evaluation.model_validate(planned.model_dump(exclude_unset=True) | own)
    except ValidationError as error:
        first = error.errors()[0]
        key = "--" + "-".join(str(each) for each in first["loc"][:1]).replace("_", "-")
        raise RefusedError(f"{key if first['loc'] else 'evaluate'}: {first['msg']}.", "correct the option.") from None
