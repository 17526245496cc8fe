"""``<save>/eval/<path>/results.json``: a version's scores, and the checkpoint they belong to."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage.files import read_json, write_atomic

FORMAT = 1
_NAMES = {"ppl": "perplexity", "loss": "loss", "bpb": "bits_per_byte"}
"""The name of a score in a gate -> its key in a set's result."""
_MEASURE = ("idx_sha256", "bin_sample_sha256", "length", "limit", "tokens", "dtype")


class Results:
    """The scores of one checkpoint of a path.

    Args:
        folder: The campaign's folder.
        path: The path's name.
        iteration: The iteration of the checkpoint.
        sha256: The hash of its manifest, or None.
    """

    def __init__(self, folder: CampaignFolder, path: str, iteration: int, sha256: str | None) -> None:
        self.folder = scores_folder(folder, path)
        self._of = {"format": FORMAT, "path": path, "iteration": iteration, "checkpoint_sha256": sha256}
        known = read_results(folder, path) or {}
        self._older = known if known and any(known.get(key) != value for key, value in self._of.items()) else None
        mine = {} if self._older else known
        self.perplexity: dict[str, dict[str, Any]] = dict(mine.get("perplexity", {}))
        self.tasks: dict[str, dict[str, Any]] = dict(mine.get("tasks", {}))

    @property
    def file(self) -> Path:
        """The file of the scores."""
        return self.folder / "results.json"

    @property
    def replaces(self) -> int | None:
        """The iteration of a different checkpoint's scores, which ``write`` moves aside; None if there are none."""
        return self._older["iteration"] if self._older else None

    def write(self) -> None:
        """Write the scores so far; those of a different checkpoint are moved aside. Raises StorageError."""
        if self._older:
            kept = self.folder / f"results-{self._older['iteration']}-{str(self._older['checkpoint_sha256'])[:8]}.json"
            write_atomic(kept, json.dumps(self._older, indent=2) + "\n")
            self._older = None
        write_atomic(self.file, json.dumps(self.to_json(), indent=2) + "\n")

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {**self._of, "perplexity": self.perplexity, "tasks": self.tasks}


def scores_folder(folder: CampaignFolder, path: str) -> Path:
    """Return the folder of a path's scores."""
    return folder.root / "eval" / path


def read_results(folder: CampaignFolder, path: str) -> dict[str, Any] | None:
    """Read a path's scores; None if there are none, or the file is torn or not in the form of ``Results``.

    Raises:
        RefusedError: a newer lrps has written them.
    """
    file = scores_folder(folder, path) / "results.json"
    found = read_json(file)
    if found is None or type(found.get("format")) is not int or type(found.get("iteration")) is not int:
        return None
    if found["format"] > FORMAT:
        raise RefusedError(f"{file} is of format {found['format']}, and this lrps reads {FORMAT}.", "use the newer.")
    whole = all(
        isinstance(found.get(key), dict) and all(isinstance(each, dict) for each in found[key].values())
        for key in ("perplexity", "tasks")
    )
    parts = (task.get(key) for task in (found["tasks"].values() if whole else ()) for key in ("metrics", "settings"))
    return found if whole and all(part is None or isinstance(part, dict) for part in parts) else None


def scores_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Return every score by its name in a gate: ``ppl/v1-web``, ``bpb/v1-web``, ``acc/arc_easy``."""
    scores: dict[str, float] = {}
    for name, result in results["perplexity"].items():
        for word, key in _NAMES.items():
            scores[f"{word}/{name}"] = result.get(key)
    for task, result in results["tasks"].items():
        for metric, value in (result.get("metrics") or {}).items():
            scores[f"{metric}/{task}"] = value
    return {name: float(value) for name, value in scores.items() if type(value) in (int, float)}


def measured_by(results: Mapping[str, Any], score: str) -> dict[str, Any]:
    """Return how a score was measured; scores can be compared only if all of it agrees."""
    word, _, name = score.partition("/")
    if word in _NAMES:
        result = results["perplexity"].get(name, {})
        return {key: result.get(key) for key in _MEASURE}
    return dict(results["tasks"].get(name, {}).get("settings") or {})


def perplexity_of(loss: float) -> float:
    """Return exp of a loss in nats; infinite on overflow."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
