"""From a trained branch to a released version: verify, export, check, evaluate, gate, release; each step resumable."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.integrity import MEANING, verify_one
from megatron_lrps.campaign.lineage import resolve
from megatron_lrps.campaign.releases import note, note_unmet, notes_of, unmet_before
from megatron_lrps.campaign.scores import Results, folder_of, measured_by, read_results, scores_of
from megatron_lrps.convert.model_card import with_scores
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.convert.version_export import export_to_hugging_face
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.scoring import evaluate
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.gate import Judged, judge, previous_of, read_gate, read_gate_file
from megatron_lrps.plan.keys.scoring_and_release import Evaluation
from megatron_lrps.storage.files import read_json, write_atomic


class Promoted(NamedTuple):
    """A released version.

    Attributes:
        export: Its Hugging Face folder.
        results: Its scores.
        judged: The gate's conditions, and those that it has not met before.
        unmet: Those of them that it does not meet, and was released all the same.
        fresh: It was released now, and not before.
    """

    export: Path
    results: Results
    judged: list[Judged]
    unmet: list[Judged]
    fresh: bool


def promote(
    source: VersionCheckpoint,
    asked: Evaluation,
    *,
    task_folder: Path | None,
    gate: Path | None,
    despite: bool,
    check: bool,
    dtype: str | None,
    say: Callable[[str], None],
) -> Promoted:
    """Release a version. Steps that were done before, on the same checkpoint and export, are not done again.

    Args:
        source: Its checkpoint.
        asked: How it is scored.
        task_folder: ``asked.task_folder``, absolute.
        gate: A file of conditions, or None. Conditions that the same checkpoint has not met before are judged too:
            no other gate, and none at all, lets it through.
        despite: Release it although it does not meet its gate; its record says so.
        check: Compare the export's logits with Megatron's.
        dtype: Of the export, or None: as saved.
        say: Told what goes on.

    Raises:
        RefusedError: the checkpoint is damaged, cannot be exported, computes something else than Megatron, or does
            not meet the gate.
        LrpsError: an engine fails, with its own words.
        StorageError: the disk refuses.
    """
    conditions = read_gate_file(gate) if gate else []
    steps = _Steps(source)
    if "verified" not in steps:
        say(f"verifying {source.folder}")
        finding = verify_one(source.facts.name, Checkpoint(source.folder.parent, source.iteration))
        if finding.damages:
            raise RefusedError(f"{source.folder} is damaged: {finding.damages[0]}.", "promote another checkpoint.")
        steps.done("verified", found=MEANING[finding.state])
    checked = steps.get("checked", {}).get("export") == _state_of(source.target) is not None
    exported = export_to_hugging_face(source, dtype=dtype, check=check and not checked, say=say)
    if exported.compared is not None:
        steps.done("checked", export=_state_of(exported.folder), **exported.compared._asdict())
    results = evaluate(source, asked, task_folder=task_folder, export=exported.folder, say=say)
    path = source.campaign.path(source.facts.name)
    judged = _judge(source, conditions)
    before = unmet_before(path, source.version, iteration=source.iteration, sha256=source.sha256)
    judged += _judge_again(source, [text for text in before if text not in {each.condition.text for each in judged}])
    known = notes_of(path).get("released", {}).get(source.version, {})
    same = (known.get("iteration"), known.get("checkpoint_sha256")) == (source.iteration, source.sha256)
    allowed = known["unmet"] if same and isinstance(known.get("unmet"), dict) else {}
    unmet = [each for each in judged if not each.holds]
    refused = [each for each in unmet if not despite and each.condition.text not in allowed]
    card = exported.folder / "README.md"
    text = card.read_text(encoding="utf-8")
    despites = ["Released although it does not meet its gate."] if unmet and not refused else []
    after = with_scores(text, results.to_json(), [_proof(steps), *map(str, judged), *despites])
    if after != text:
        write_atomic(card, after)
    if refused:
        note_unmet(
            path,
            source.version,
            iteration=source.iteration,
            sha256=source.sha256,
            gate=str(gate) if gate else None,
            unmet={each.condition.text: str(each) for each in refused},
        )
        now = "it was released before, and that stands" if same else "it is not released"
        now_asked = any(each.condition in conditions for each in refused)
        what = (
            f"{source.version} does not meet {gate}" if now_asked else f"{source.version} did not meet its gate before"
        )
        raise RefusedError(
            f"{what}{'' if now_asked else ', and does not now'}: {'; '.join(map(str, refused))}.",
            f"{now}; train a better one, or say --despite-failed-gate: it is released then, and its record says so.",
        )
    facts = {
        "export": within(exported.folder, source.campaign.root),
        "checkpoint_sha256": source.sha256,
        "verified": steps.get("verified", {}).get("found"),
        "checked": steps.get("checked", {}).get("difference"),
        "gate": [str(each) for each in judged],
        "unmet": {each.condition.text: str(each) for each in unmet},
    }
    fresh = any(known.get(key) != value for key, value in {"iteration": source.iteration, **facts}.items())
    if fresh:
        note(path, "released", source.version, iteration=source.iteration, **facts)
    return Promoted(exported.folder, results, judged, unmet, fresh)


def _proof(steps: "_Steps") -> str:
    difference = steps.get("checked", {}).get("difference")
    logits = "were not compared with" if difference is None else f"differ by at most {difference:.2g} in fp32 from"
    return f"Of the checkpoint {steps.get('verified', {}).get('found')}; the logits {logits} Megatron's own."


def _judge(source: VersionCheckpoint, conditions: list[Any]) -> list[Judged]:
    campaign = source.campaign

    @cache
    def results(version: str) -> dict[str, Any]:
        path = source.facts.name if version == source.version else resolve(campaign, source.trees, version)
        found = read_results(campaign, path)
        if found is None:
            raise RefusedError(f"{version} has no scores to compare with.", f"lrps eval PLAN {version}, then rerun.")
        return found

    return judge(
        conditions,
        source.version,
        lambda version: scores_of(results(version)),
        lambda version, score: measured_by(results(version), score),
        previous_of(source.tree, source.facts.name) if source.facts.name in source.tree.by_name else None,
    )


def _judge_again(source: VersionCheckpoint, texts: list[str]) -> list[Judged]:
    """Conditions that the checkpoint has not met before, by the scores of now; unmet where these are not there."""
    found = []
    for text in texts:
        (condition,) = read_gate(text, "a condition of before")
        try:
            found += _judge(source, [condition])
        except RefusedError:
            found.append(Judged(condition, math.nan, None, holds=False, against=condition.version))
    return found


def _state_of(export: Path) -> list[list[Any]] | None:
    """What shows that an export was changed: its weights' names, sizes and times; None where it is not there."""
    files = sorted([*export.glob("*.safetensors"), export / "config.json"])
    try:
        return [[file.name, (state := file.stat()).st_size, state.st_mtime_ns] for file in files]
    except OSError:
        return None


class _Steps:
    """What was done to the checkpoint so far, in ``<save>/eval/<path>/promotion.json``."""

    def __init__(self, source: VersionCheckpoint) -> None:
        self._file = folder_of(source.campaign, source.facts.name) / "promotion.json"
        self._of = {"iteration": source.iteration, "checkpoint_sha256": source.sha256}
        known = read_json(self._file) or {}
        same = source.sha256 is not None and all(known.get(key) == value for key, value in self._of.items())
        steps = known.get("steps") if same else None
        self._steps: dict[str, Any] = steps if isinstance(steps, dict) else {}

    def __contains__(self, step: str) -> bool:
        return step in self._steps

    def get(self, step: str, default: dict[str, Any]) -> dict[str, Any]:
        """A step's facts."""
        found = self._steps.get(step)
        return found if isinstance(found, dict) else default

    def done(self, step: str, **facts: Any) -> None:
        """Record a step; raises StorageError."""
        self._steps[step] = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        write_atomic(self._file, json.dumps({**self._of, "steps": self._steps}, indent=2) + "\n")
