"""The commands that convert, score, compare, release and report versions, registered beside those of ``app.py``."""

from pathlib import Path
from typing import Annotated

import typer

models = typer.Typer()


def path_names(context: typer.Context, incomplete: str) -> list[str]:
    """For a shell's completion: the paths of the plan that was given before; none where it is no plan."""
    from megatron_lrps.errors import LrpsError
    from megatron_lrps.plan import expand, load_plan

    # Behind an option that waits for its value nothing has been parsed yet: the plan is the first word then.
    plan = context.params.get("plan") or next(iter(context.args), "")
    try:
        tree = expand(load_plan(plan))
    except LrpsError:
        return []
    return [path.name for path in tree.paths if path.name.startswith(incomplete)]


PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="The campaign's plan.yaml.", show_default=False)]
VersionArgument = Annotated[
    str,
    typer.Argument(metavar="VERSION", help="Its name, or a path's.", show_default=False, autocompletion=path_names),
]
PathOption = Annotated[
    str | None, typer.Option("--path", help="One path's name.", show_default=False, autocompletion=path_names)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, whose keys docs/json.md lists.")]
IterationOption = Annotated[int | None, typer.Option(help="A checkpoint; the path's end by default.")]


@models.command()
def export(
    plan: PlanArgument,
    version: VersionArgument,
    output: Annotated[Path | None, typer.Option(help="The folder; <save>/exports/VERSION by default.")] = None,
    iteration: IterationOption = None,
    dtype: Annotated[str | None, typer.Option(help="bf16 or fp32; as saved by default.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="hf: files written at a time; 1 by default.")] = None,
    shard_gb: Annotated[
        float | None, typer.Option(min=0.001, help="hf: largest file in GB (10^9 bytes); 5 by default.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="hf, torch (one file), or torch_dist (for Megatron at another TP and PP).")
    ] = "hf",
    tensor: Annotated[int | None, typer.Option("--tensor-parallel", min=1, help="torch_dist: 1 by default.")] = None,
    pipeline: Annotated[
        int | None, typer.Option("--pipeline-parallel", min=1, help="torch_dist: 1 by default.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare logits with Megatron's own forward.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a Hugging Face folder of a version's checkpoint, or weights for Megatron."""
    from megatron_lrps.cli.export import export_version

    export_version(
        plan,
        version,
        form=form,
        layout=(tensor, pipeline),
        output=output,
        iteration=iteration,
        dtype=dtype,
        workers=workers,
        shard_gb=shard_gb,
        check=check,
        as_json=as_json,
    )


@models.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A Hugging Face folder.", show_default=False)],
    plan: Annotated[Path | None, typer.Option(help="The plan that is to start from it.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option(help="The checkpoint; <save>/imports/FOLDER by default.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare logits with transformers'.")] = False,
) -> None:
    """Make a checkpoint of a Hugging Face folder, for a main path to start from."""
    from megatron_lrps.cli.export import import_folder

    import_folder(folder, plan_file=plan, output=output, check=check)


@models.command("eval")
def evaluate(
    plan: PlanArgument,
    version: VersionArgument,
    engine: Annotated[str | None, typer.Option(help="export (transformers) or megatron (on the CPU).")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of a validation set.")] = None,
    tasks: Annotated[str | None, typer.Option(help="lm-eval's tasks, as A,B.", show_default=False)] = None,
    task_folder: Annotated[Path | None, typer.Option(help="Task files of your own; nothing is fetched then.")] = None,
    few_shot: Annotated[int | None, typer.Option(min=0, help="Examples before each question.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most documents of a task.")] = None,
    backend: Annotated[str | None, typer.Option(help="hf or vllm, for tasks.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Of tasks.")] = None,
    export: Annotated[Path | None, typer.Option(help="The export; <save>/exports/VERSION by default.")] = None,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a version: perplexity and bits per byte on every validation set, and lm-eval's tasks."""
    from megatron_lrps.cli.eval import eval_version

    given = {
        "engine": engine,
        "tokens": tokens,
        "tasks": tasks and tuple(tasks.split(",")),
        "task_folder": task_folder,
        "few_shot": few_shot,
        "limit": limit,
        "backend": backend,
        "batch_size": batch_size,
    }
    eval_version(plan, version, iteration=iteration, export=export, given=given, as_json=as_json)


@models.command()
def compare(
    plan: PlanArgument,
    versions: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION...]", help="All by default.", show_default=False)
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, csv, json, html or latex.")] = "text",
) -> None:
    """Show every version's cost and scores, one paradigm's beside the other's."""
    from megatron_lrps.cli.eval import compare_versions

    compare_versions(plan, versions or [], form)


@models.command()
def promote(
    plan: PlanArgument,
    version: VersionArgument,
    gate: Annotated[Path | None, typer.Option(help="Conditions on the scores, one a line.", show_default=False)] = None,
    despite: Annotated[
        bool, typer.Option("--despite-failed-gate", help="Release it although it does not meet its gate.")
    ] = False,
    check: Annotated[bool | None, typer.Option("--check/--no-check", help="Compare logits with Megatron's.")] = None,
    dtype: Annotated[str | None, typer.Option(help="bf16 or fp32; as saved by default.")] = None,
    iteration: IterationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify, export, check, score and release a version; the same command goes on where it was stopped."""
    from megatron_lrps.cli.eval import promote_version

    promote_version(
        plan,
        version,
        iteration=iteration,
        gate=gate,
        despite=despite,
        check=check,
        dtype=dtype,
        as_json=as_json,
    )


@models.command()
def reproduce(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study file.", show_default=False)],
    run: Annotated[
        list[str] | None, typer.Option("--run", help="One of its runs; may be given again.", show_default=False)
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="The first so many of its seeds.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="One of its seeds; may be given again.", show_default=False)
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Train nothing: show what there is.")] = False,
    plans: Annotated[
        bool, typer.Option("--plans", help="Train nothing: write its plans, for lrps submit or another launcher.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a study, run by run and seed by seed, and show what it found; the same command goes on."""
    from megatron_lrps.cli.reproduce import reproduce

    reproduce(study, only=run or [], seeds=seeds, seed=seed or [], show=show, plans=plans, as_json_=as_json)


@models.command()
def report(
    plan: PlanArgument,
    output: Annotated[Path | None, typer.Option(help="Its folder; <save>/report by default.")] = None,
    axis: Annotated[str, typer.Option(help="Of its pictures: iterations, samples or tokens.")] = "iterations",
) -> None:
    """Show a campaign on one HTML page: paths, losses, versions, data, scores, events; PNG and SVG beside it."""
    from megatron_lrps.cli.report import make_report

    make_report(plan, output, axis)


@models.command()
def tensorboard(plan: PlanArgument) -> None:
    """Bring a campaign's TensorBoard up to date: tokens, charts, markers, HParams, what the logs alone hold."""
    from megatron_lrps.cli.tensorboard import derive_tensorboard

    derive_tensorboard(plan)
