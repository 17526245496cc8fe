"""A version's evaluation: perplexity on every validation set, then lm-eval's tasks."""

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
    source: VersionCheckpoint,
    asked: Evaluation,
    *,
    task_folder: Path | None,
    export: Path | None,
    say: Callable[[str], None],
) -> Results:
    """Score a version; what was scored alike before stays.

    Args:
        source: Its checkpoint.
        asked: What to score, and how.
        task_folder: ``asked.task_folder``, absolute.
        export: The Hugging Face folder; <save>/exports/VERSION by default.
        say: Told what goes on.

    Raises:
        RefusedError: the export is not there or of another checkpoint, or something it needs is missing.
        LrpsError: an engine fails, with its own words.
        StorageError: the disk refuses.
    """
    folder = export or source.target
    if asked.engine == "export" or asked.tasks:
        refuse_other_export(source, folder)
    results = Results(source.campaign, source.facts.name, source.iteration, source.sha256)
    if results.replaces is not None:
        say(f"the scores of iteration {results.replaces:,} are of another checkpoint, and are moved aside")
    before = deepcopy(results.to_json())
    measure(source, results, engine=asked.engine, export=folder, limit=asked.tokens, say=say)
    if asked.tasks:
        run_tasks(folder, results, asked, task_folder=task_folder, say=say)
    if results.to_json() != before:
        scores = scores_of(results.to_json())
        note(
            source.campaign.path(source.facts.name),
            "scores",
            source.version,
            iteration=source.iteration,
            scores=scores,
        )
    return results


def refuse_other_export(source: VersionCheckpoint, folder: Path) -> None:
    """Refuse an export that is missing, or was not made from the version's checkpoint."""
    record = read_json(folder / RECORD)
    if record is None:
        raise RefusedError(
            f"{folder} is no export of lrps.",
            f"lrps export PLAN {source.version}; perplexity alone needs none with --engine megatron.",
        )
    for key, value in (("iteration", source.iteration), ("checkpoint_sha256", source.sha256)):
        if record.get(key) != value:
            raise RefusedError(
                f"{folder} was made from another checkpoint: its {key} is {record.get(key)}, and that of "
                f"{source.folder} is {value}.",
                f"move it away, then lrps export PLAN {source.version}.",
            )
