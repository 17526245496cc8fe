"""``lrps promote``: verifies, exports, checks, scores and releases a version."""

from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.cli.options import (
    AllowOption,
    DtypeOption,
    IterationOption,
    JsonOption,
    PlanArgument,
    VersionArgument,
)
from megatron_lrps.cli.printing import print_json, print_scores, say
from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.plan.keys.scoring_and_release import Promotion


def promote(
    plan: PlanArgument,
    version: VersionArgument,
    gate: Annotated[
        Path | None, typer.Option(help="A file of conditions on the scores, one in a line; the plan's by default.")
    ] = None,
    despite: Annotated[
        bool, typer.Option("--despite-failed-gate", help="Release the version even if it does not meet its gate.")
    ] = False,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check", help="Compare the export's logits with Megatron's; as the plan says by default."
        ),
    ] = None,
    dtype: DtypeOption = None,
    iteration: IterationOption = None,
    allow: AllowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify, export, check, score and release a version. Run it again to continue."""
    found = find_version_checkpoint(plan, version, iteration)
    asked, planned = found.campaign.plan.evaluate, found.campaign.plan.promote or Promotion()
    from megatron_lrps.evaluate import promotion  # torch comes with it

    done = promotion.promote(
        found,
        asked,
        task_folder=asked.task_folder,
        gate=gate or planned.gate,
        despite=despite,
        check=planned.check if check is None else check,
        dtype=dtype or planned.dtype,
        allow=allow or (),
        say=say,
    )
    if as_json:
        facts = {
            "version": found.name,
            "path": found.path,
            "iteration": found.iteration,
            "export": str(done.export),
            "released_now": done.fresh,
            "gate": [str(each) for each in done.judged],
            "unmet": [str(each) for each in done.unmet],
            "results": done.results.to_json(),
        }
        print_json(facts)
        return
    print_scores(done.results.to_json())
    for each in done.judged:
        typer.echo(str(each))
    despite_it = ", although it does not meet its gate" if done.unmet else ""
    released = "is released" if done.fresh else "was released before"
    typer.echo(f"\n{found.name} {released}{despite_it}: {done.export}")
