"""The ``lrps`` command. Each command's own imports happen when it runs, so that planning stays instant."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

# Pydantic would scan every installed distribution for plugins: a tenth of a second on large environments.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from megatron_lrps.cli.beginning import beginning
from megatron_lrps.cli.models import JsonOption, PathOption, PlanArgument, VersionArgument, models, path_names
from megatron_lrps.cli.start import keep_the_called_one
from megatron_lrps.errors import EXIT_FAILED, LrpsError, RefusedError
from megatron_lrps.version import __version__

app = typer.Typer(
    name="lrps",
    help="Train LLM versions by learning-rate path switching, on unmodified Megatron-Core.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"lrps {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """What comes before a command."""


@app.command()
def plan(
    plan: PlanArgument,
    as_json: JsonOption = False,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs that train at a time.", show_default=False)] = None,
    tflops: Annotated[
        float | None, typer.Option(min=0.001, help="TFLOP/s that each GPU achieves.", show_default=False)
    ] = None,
    check_layout: Annotated[
        bool, typer.Option("--check-layout", help="Let Megatron check TP, PP, DP and batch for the plan's world size.")
    ] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="When it would be done as nodes fail, by save interval.")
    ] = False,
    mtbf_hours: Annotated[float | None, typer.Option(min=0.001, help="Mean time between a node's failures.")] = None,
    queue_hours: Annotated[float | None, typer.Option(min=0.0, help="Mean wait of a job in the queue.")] = None,
    save_minutes: Annotated[float | None, typer.Option(min=0.001, help="How long a save stops training.")] = None,
    seconds_per_iter: Annotated[float | None, typer.Option(min=1e-6, help="Of an iteration, or --tflops.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Campaigns to simulate; 200 by default.")] = None,
) -> None:
    """Show paths, forks, learning rates and the cost against retraining (PTFS) and continuing (CPT)."""
    from megatron_lrps.cli.plan import show_plan

    assumed = {
        "mtbf_hours": mtbf_hours,
        "queue_hours": queue_hours,
        "save_minutes": save_minutes,
        "seconds_per_iter": seconds_per_iter,
        "seeds": seeds,
    }
    show_plan(plan, as_json=as_json, gpus=gpus, tflops=tflops, layout=check_layout, simulate=simulate, assumed=assumed)


@app.command()
def lr(
    plan: PlanArgument,
    path: PathOption = None,
    as_json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    png: Annotated[Path | None, typer.Option(help="Draw the curves into this PNG file.", show_default=False)] = None,
) -> None:
    """Show the learning rate of every iteration of a path, or of all."""
    from megatron_lrps.cli.plan import show_lr

    show_lr(plan, path, as_json=as_json, csv=csv, png=png)


@app.command()
def args(
    plan: PlanArgument,
    path: Annotated[
        str, typer.Option("--path", help="The path's name.", show_default=False, autocompletion=path_names)
    ],
) -> None:
    """Print the Megatron argument line of a path, for any launcher."""
    from megatron_lrps.cli.plan import show_args

    show_args(plan, path)


@app.command()
def prepare(
    plan: PlanArgument,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; the cores by default.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A version or an index prefix; may be given again.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace indexes made from something else.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the tokenizer and the .bin and .idx files from the plan's raw text; the same command goes on."""
    from megatron_lrps.cli.prepare import prepare_plan

    prepare_plan(plan, workers=workers, only=only or (), force=force, as_json=as_json)


@app.command()
def run(plan: PlanArgument, path: PathOption = None) -> None:
    """Train what is missing, in dependency order, on this machine; the same command resumes."""
    from megatron_lrps.cli.run import run_plan

    run_plan(plan, path)


@app.command()
def submit(
    plan: PlanArgument,
    path: PathOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the jobs and scripts; submit nothing.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not ask this machine's Megatron first.")] = False,
) -> None:
    """Submit what is missing as Slurm jobs that follow one another; what has a job gets no second one."""
    from megatron_lrps.cli.submit import submit_plan

    submit_plan(plan, path, dry_run=dry_run, check=not no_check)


@app.command()
def cancel(plan: PlanArgument, path: PathOption = None) -> None:
    """Cancel the campaign's Slurm jobs; those that run get to save first."""
    from megatron_lrps.cli.submit import cancel_jobs

    cancel_jobs(plan, path)


@app.command()
def status(
    plan: PlanArgument,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show losses, pace and alerts as they come.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="--watch: seconds between looks.")] = 5.0,
) -> None:
    """Show where every path stands."""
    if not watch:
        from megatron_lrps.cli.run import show_status

        show_status(plan, as_json=as_json)
        return
    if as_json:
        raise RefusedError("--watch shows lines, and --json is one object.", "give one of them.")
    from megatron_lrps.cli.status_watch import watch_status

    watch_status(plan, every=every)


@app.command()
def tree(plan: PlanArgument) -> None:
    """Draw the tree of paths with their forks, ends and progress."""
    from megatron_lrps.cli.run import show_tree

    show_tree(plan)


@app.command()
def show(
    plan: PlanArgument,
    version: VersionArgument,
    as_json: JsonOption = False,
) -> None:
    """Show what made a version: its paths, learning rate, data, libraries, checkpoints and history."""
    from megatron_lrps.cli.show import show_version

    show_version(plan, version, as_json=as_json)


@app.command()
def diff(
    plan: PlanArgument,
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="A version's or path's.", show_default=False, autocompletion=path_names),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another's.", show_default=False, autocompletion=path_names)],
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two versions, and count what does not."""
    from megatron_lrps.cli.show import show_diff

    show_diff(plan, a, b, as_json=as_json)


@app.command()
def verify(plan: PlanArgument, path: PathOption = None, as_json: JsonOption = False) -> None:
    """Read every checkpoint's files against their hashes, and name those that are damaged."""
    from megatron_lrps.cli.gc import show_verify

    show_verify(plan, path, as_json=as_json)


@app.command("gc")
def collect(
    plan: PlanArgument,
    as_json: JsonOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it nothing is.")] = False,
) -> None:
    """Show which checkpoints nothing needs, and why the others stay; delete them with --yes."""
    from megatron_lrps.cli.gc import show_gc

    show_gc(plan, as_json=as_json, yes=yes)


@app.command()
def pin(
    plan: PlanArgument,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Its name.", show_default=False, autocompletion=path_names)
    ],
    iteration: Annotated[int, typer.Argument(metavar="ITERATION", help="The checkpoint's.", show_default=False)],
    note: Annotated[str, typer.Option(help="Why it is to stay.", show_default=False)] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the pin.")] = False,
) -> None:
    """Protect a checkpoint from gc."""
    from megatron_lrps.cli.gc import remove_pin, set_pin

    if remove:
        remove_pin(plan, path, iteration)
    else:
        set_pin(plan, path, iteration, note)


@app.command()
def cut(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new version's name.", show_default=False)],
    plan: PlanArgument,
    iters: Annotated[int, typer.Option(min=1, help="Iterations of its decay.", show_default=False)],
    shape: Annotated[str | None, typer.Option(help="Its decay shape; the campaign's by default.")] = None,
    at: Annotated[int | None, typer.Option(min=1, help="Fork off this checkpoint of main.", show_default=False)] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for main's job to save.")] = 1800.0,
) -> None:
    """Fork a new version off main where it is now, running or not, and add it to the plan."""
    from megatron_lrps.cli.cut import cut_version

    cut_version(plan, name, iters=iters, shape=shape, at=at, patience_s=wait)


@app.command()
def forecast(
    plan: PlanArgument,
    alpha: Annotated[
        list[float] | None, typer.Option("--alpha", help="A decay share; may be given again.", show_default=False)
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="A decay shape; may be given again.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what other alphas and shapes would give the next versions, and the error on finished branches."""
    from megatron_lrps.cli.forecast import show_forecast

    show_forecast(plan, alphas=alpha or (), shapes=shape or (), as_json=as_json)


@app.command()
def doctor(
    plan: Annotated[
        Path | None, typer.Argument(metavar="[PLAN]", help="What is it fit for?", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what this machine has and lacks (torch, CUDA, NCCL, Megatron, TE, FP8, Slurm), each with the fix."""
    from megatron_lrps.cli.doctor import show_doctor

    show_doctor(plan, as_json=as_json)


@app.command()
def quickstart(
    folder: Annotated[Path, typer.Argument(help="Where the campaign goes.")] = Path("quickstart"),
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Train by PTFS and CPT too, for comparison; takes longer.")
    ] = False,
) -> None:
    """Train, score and export a campaign of four versions on a small CPU machine: real text, real Megatron."""
    from megatron_lrps.cli.quickstart import run_quickstart

    run_quickstart(folder, baselines=baselines)


app.registered_commands = [
    *beginning.registered_commands,
    *app.registered_commands,
    *models.registered_commands,
]


def main() -> NoReturn:
    """Run the command line; an error of the family prints its text alone and gives its own exit code."""
    # Starting makes many objects and no garbage: searching for it takes a twentieth of the time of `lrps plan`.
    gc.set_threshold(100_000)
    keep_the_called_one(app, sys.argv[1:])
    try:
        app(prog_name="lrps")
    except LrpsError as error:
        print(f"lrps: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `lrps lr PLAN | head`: the reader has what it wanted
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
    sys.exit(0)
