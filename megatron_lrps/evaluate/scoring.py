"""``lrps eval``: a version's perplexity on every validation set, then lm-eval's tasks."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from megatron_lrps.campaign.releases import note
from megatron_lrps.campaign.scores import Results, scores_of
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.convert.version_export import RECORD
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.lm_eval_tasks import run_tasks
from megatron_lrps.evaluate.perplexity import measure
from megatron_lrps.plan.keys.scoring_and_release import Evaluation
from megatron_lrps.storage.files import read_json


def evaluate(
    version: VersionCheckpoint,
    asked: Evaluation,
    *,
    task_folder: Path | None,
    export: Path | None,
    say: Callable[[str], None],
) -> Results:
    """Score a version. Scores already computed in the same way are kept.

    Args:
        version: The version.
        asked: The scores to compute, and how.
        task_folder: ``asked.task_folder``, absolute.
        export: The Hugging Face folder; <save>/exports/VERSION by default.
        say: Called with a line for each step.

    Raises:
        RefusedError: the export is missing or was made from another checkpoint, or something that it needs is missing.
        LrpsError: an engine fails; the error quotes its message.
        StorageError: the disk fails.
    """
    folder = export or version.export
    if asked.engine == "export" or asked.tasks:
        refuse_other_export(version, folder)
    results = Results(version.campaign.folder, version.path, version.iteration, version.sha256)
    if results.replaces is not None:
        say(f"the scores of iteration {results.replaces:,} are of another checkpoint, and are moved aside")
    before = deepcopy(results.to_json())
    measure(version, results, engine=asked.engine, export=folder, limit=asked.tokens, say=say)
    if asked.tasks:
        run_tasks(folder, results, asked, task_folder=task_folder, say=say)
    if results.to_json() != before:
        scores = scores_of(results.to_json())
        note(version.path_folder, "scores", version.name, iteration=version.iteration, scores=scores)
    return results


def refuse_other_export(version: VersionCheckpoint, folder: Path) -> None:
    """Refuse an export that is missing, or was not made from the version's checkpoint."""
    record = read_json(folder / RECORD)
    if record is None:
        raise RefusedError(
            f"{folder} is not an export of lrps.",
            f"run lrps export PLAN {version.name}; or compute perplexity alone with --engine megatron.",
        )
    for key, value in (("iteration", version.iteration), ("checkpoint_sha256", version.sha256)):
        if record.get(key) != value:
            raise RefusedError(
                f"{folder} was made from another checkpoint: its {key} is {record.get(key)}, and that of "
                f"{version.checkpoint.folder} is {value}.",
                f"move it away, then run lrps export PLAN {version.name}.",
            )
