"""The process that makes a version out of checkpoints, in place of ranks that train.

``python -m megatron_lrps.launch.merge_job --lrps-plan PLAN --lrps-path PATH [--lrps-cpu]`` ends with the exit codes of
``megatron_lrps.errors``. With ``--lrps-cpu`` it scores the version as well, as ranks that train validate a path at its
end. On a cluster `lrps promote` and `lrps eval` do that, since a model may be too large for one process.
"""

import argparse
import sys
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.convert.version_checkpoint import find_version_checkpoint
from megatron_lrps.convert.version_mean import make_version
from megatron_lrps.errors import EXIT_DONE, LrpsError, RefusedError
from megatron_lrps.evaluate.scoring import evaluate
from megatron_lrps.plan import PlannedPath
from megatron_lrps.plan.data_files import validation_sets
from megatron_lrps.plan.keys.scoring_and_release import Evaluation


def main(arguments: list[str]) -> int:
    """Return the exit code; the arguments are those above."""
    parser = argparse.ArgumentParser(prog="megatron_lrps.launch.merge_job")
    parser.add_argument("--lrps-plan", type=Path, required=True)
    parser.add_argument("--lrps-path", required=True)
    parser.add_argument("--lrps-cpu", action="store_true")
    given = parser.parse_args(arguments)
    try:
        campaign = Campaign.open(given.lrps_plan)
        path = campaign.path(given.lrps_path)
        make_version(campaign, path, _say)
        if given.lrps_cpu:
            _score(given.lrps_plan, campaign, path)
    except LrpsError as error:
        print(f"lrps: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return EXIT_DONE


def _score(plan_file: Path, campaign: Campaign, path: PlannedPath) -> None:
    if campaign.plan.tokenizer is None or not validation_sets(campaign.tree, path):
        return
    asked = Evaluation(engine="megatron", tokens=campaign.plan.evaluate.tokens)
    try:
        evaluate(
            find_version_checkpoint(plan_file, path.name, path.end), asked, task_folder=None, export=None, say=_say
        )
    except RefusedError as refusal:  # the version is made, and can be scored later
        _say(f"{path.name} is not scored: {refusal}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
