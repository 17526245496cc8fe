"""``lrps promote``: verify, export, check, score and judge a version, then mark it released. Each step can resume."""

import json
import math
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.campaign.integrity import MEANING, verify_one
from megatron_lrps.campaign.lineage import resolve
from megatron_lrps.campaign.releases import note, note_unmet, notes_of, unmet_before
from megatron_lrps.campaign.scores import Results, measured_by, read_results, scores_folder, scores_of
from megatron_lrps.convert.bridge_export import standing_export
from megatron_lrps.convert.export_source import source_of_version
from megatron_lrps.convert.model_card import with_scores
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.convert.version_export import export_to_hugging_face
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.scoring import evaluate
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.gate import Condition, Judged, judge, previous_of, read_gate, read_gate_file
from megatron_lrps.plan.keys.scoring_and_release import Evaluation
from megatron_lrps.storage.files import read_json, write_atomic


class Promoted(NamedTuple):
    """A released version.

    Attributes:
        export: The Hugging Face folder.
        results: The scores.
        judged: The conditions of the gate, and those that the version did not meet before.
        unmet: The conditions that it does not meet, although it was released.
        fresh: It was released now, and not before.
    """

    export: Path
    results: Results
    judged: list[Judged]
    unmet: list[Judged]
    fresh: bool


def promote(
    version: VersionCheckpoint,
    asked: Evaluation,
    *,
    task_folder: Path | None,
    gate: Path | None,
    despite: bool,
    check: bool,
    dtype: str | None,
    allow: Collection[str] = (),
    say: Callable[[str], None],
) -> Promoted:
    """Release a version. Steps that were done before on the same checkpoint and export are not done again.

    Args:
        version: The version.
        asked: How to score it.
        task_folder: ``asked.task_folder``, absolute.
        gate: A file of conditions, or None. Conditions that the same checkpoint did not meet before are judged too, so
            that neither another gate nor the lack of one lets it through.
        despite: Release the version although it does not meet its gate. Its record says so.
        check: Compare the export's logits with Megatron's.
        dtype: The dtype of the export, or None to keep the saved one.
        allow: Arguments outside Megatron's that do not change the forward pass.
        say: Called with a line for each step.

    Raises:
        RefusedError: the checkpoint is damaged or cannot be exported, the export computes something else than
            Megatron, or the version does not meet the gate.
        LrpsError: an engine fails; the error quotes its message.
        StorageError: the disk fails.
    """
    conditions = read_gate_file(gate) if gate else []
    steps = _Steps(version)
    _verify(version, steps, say)
    checked = steps.get("checked").get("export") == _state_of(version.export) is not None
    source = source_of_version(version, of_bridge=True)
    exported = standing_export(source, dtype) or export_to_hugging_face(
        source, dtype=dtype, allow=allow, check=check and not checked, say=say
    )
    if exported.compared is not None:
        steps.done("checked", export=_state_of(exported.folder), **exported.compared._asdict())
    results = evaluate(version, asked, task_folder=task_folder, export=exported.folder, say=say)
    judged = _judge(version, conditions)
    before = unmet_before(version.path_folder, version.name, iteration=version.iteration, sha256=version.sha256)
    judged += _judge_again(version, [text for text in before if text not in {each.condition.text for each in judged}])
    known = notes_of(version.path_folder).get("released", {}).get(version.name, {})
    same = (known.get("iteration"), known.get("checkpoint_sha256")) == (version.iteration, version.sha256)
    allowed = known["unmet"] if same and isinstance(known.get("unmet"), dict) else {}
    unmet = [each for each in judged if not each.holds]
    refused = [each for each in unmet if not despite and each.condition.text not in allowed]
    despites = ["Released although it does not meet its gate."] if unmet and not refused else []
    _write_card(exported.folder / "README.md", results, [_proof(steps), *map(str, judged), *despites])
    if refused:
        _refuse(version, refused, conditions, gate, released_before=same)
    facts = {
        "export": within(exported.folder, version.campaign.folder.root),
        "checkpoint_sha256": version.sha256,
        "verified": steps.get("verified").get("found"),
        "checked": steps.get("checked").get("difference"),
        "gate": [str(each) for each in judged],
        "unmet": {each.condition.text: str(each) for each in unmet},
    }
    fresh = any(known.get(key) != value for key, value in {"iteration": version.iteration, **facts}.items())
    if fresh:
        note(version.path_folder, "released", version.name, iteration=version.iteration, **facts)
    return Promoted(exported.folder, results, judged, unmet, fresh)


def _verify(version: VersionCheckpoint, steps: "_Steps", say: Callable[[str], None]) -> None:
    if "verified" in steps:
        return
    say(f"verifying {version.checkpoint}")
    finding = verify_one(version.path, version.checkpoint)
    if finding.damages:
        raise RefusedError(f"{version.checkpoint} is damaged: {finding.damages[0]}.", "promote another checkpoint.")
    steps.done("verified", found=MEANING[finding.state])


def _write_card(card: Path, results: Results, proofs: list[str]) -> None:
    before = card.read_text(encoding="utf-8")
    after = with_scores(before, results.to_json(), proofs)
    if after != before:
        write_atomic(card, after)


def _refuse(
    version: VersionCheckpoint,
    refused: list[Judged],
    conditions: list[Condition],
    gate: Path | None,
    *,
    released_before: bool,
) -> None:
    """Record the conditions that are not met, and refuse the release."""
    note_unmet(
        version.path_folder,
        version.name,
        iteration=version.iteration,
        sha256=version.sha256,
        gate=str(gate) if gate else None,
        unmet={each.condition.text: str(each) for each in refused},
    )
    now = "it was released before, and that stands" if released_before else "it is not released"
    now_asked = any(each.condition in conditions for each in refused)
    what = f"{version.name} does not meet {gate}" if now_asked else f"{version.name} did not meet its gate before"
    raise RefusedError(
        f"{what}{'' if now_asked else ', and does not now'}: {'; '.join(map(str, refused))}.",
        f"{now}; train a better one, or say --despite-failed-gate: it is released then, and its record says so.",
    )


def _proof(steps: "_Steps") -> str:
    difference = steps.get("checked").get("difference")
    logits = "were not compared with" if difference is None else f"differ by at most {difference:.2g} in fp32 from"
    return f"Of the checkpoint {steps.get('verified').get('found')}; the logits {logits} Megatron's own."


def _judge(version: VersionCheckpoint, conditions: list[Condition]) -> list[Judged]:
    campaign = version.campaign

    @cache
    def results(name: str) -> dict[str, Any]:
        path = version.path if name == version.name else resolve(campaign, name)
        found = read_results(campaign.folder, path)
        if found is None:
            raise RefusedError(f"{name} has no scores to compare with.", f"run lrps eval PLAN {name}, then rerun this.")
        return found

    return judge(
        conditions,
        version.name,
        lambda name: scores_of(results(name)),
        lambda name, score: measured_by(results(name), score),
        previous_of(campaign.tree, version.path) if version.path in campaign.tree.by_name else None,
    )


def _judge_again(version: VersionCheckpoint, texts: list[str]) -> list[Judged]:
    """Judge conditions that the checkpoint did not meet before by its present scores; unmet without scores."""
    found = []
    for text in texts:
        (condition,) = read_gate(text, "a condition of before")
        try:
            found += _judge(version, [condition])
        except RefusedError:
            found.append(Judged(condition, math.nan, None, holds=False, against=condition.version))
    return found


def _state_of(export: Path) -> list[list[Any]] | None:
    """Return the names, sizes and times of an export's weights, which show a change; None if the export is missing."""
    files = sorted([*export.glob("*.safetensors"), export / "config.json"])
    try:
        return [[file.name, (state := file.stat()).st_size, state.st_mtime_ns] for file in files]
    except OSError:
        return None


class _Steps:
    """The steps that were done so far, kept in ``<save>/eval/<path>/promotion.json``."""

    def __init__(self, version: VersionCheckpoint) -> None:
        self._file = scores_folder(version.campaign.folder, version.path) / "promotion.json"
        self._of = {"iteration": version.iteration, "checkpoint_sha256": version.sha256}
        known = read_json(self._file) or {}
        same = version.sha256 is not None and all(known.get(key) == value for key, value in self._of.items())
        steps = known.get("steps") if same else None
        self._steps: dict[str, Any] = steps if isinstance(steps, dict) else {}

    def __contains__(self, step: str) -> bool:
        return step in self._steps

    def get(self, step: str) -> dict[str, Any]:
        """Return the facts of a step; empty if it was not done."""
        found = self._steps.get(step)
        return found if isinstance(found, dict) else {}

    def done(self, step: str, **facts: Any) -> None:
        """Record a step; raises StorageError."""
        self._steps[step] = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        write_atomic(self._file, json.dumps({**self._of, "steps": self._steps}, indent=2) + "\n")
