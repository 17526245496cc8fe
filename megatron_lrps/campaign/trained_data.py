"""The content of a campaign's training data and tokenizer, from its records or read from the files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.record_values import is_data
from megatron_lrps.data.fingerprint import fingerprint, tokenizer_fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree

CONTENT = ("idx_sha256", "bin_bytes", "bin_sample_sha256")
"""The keys that identify an index by its content."""


class TrainedData:
    """The recorded content of the data that a campaign's paths were trained on.

    Args:
        tree: The tree of the accepted plan.
    """

    def __init__(self, tree: Tree) -> None:
        campaign = CampaignFolder(tree.plan.folder)
        records = {path.name: read_record(campaign.path(path.name)) or {} for path in tree.paths}
        by_path = {name: record["data"] for name, record in records.items() if is_data(record.get("data"))}
        self._blends = {name: each["blend"]["data"] for name, each in by_path.items() if "blend" in each}
        data = [*by_path.values()]
        # A path that has read more of the timeline has recorded more of it.
        data.sort(key=lambda each: len(each["windows"]))
        self._windows = {window["version"]: window["data"] for each in data for window in each["windows"]}
        known = data[-1]["tokenizer"] if data else None
        self.tokenizer = {"sha256": known} if known else None

    def index(self, version: str, number: int) -> Mapping[str, Any] | None:
        """Return the content of the index at a position in a version's training data; None if not recorded."""
        return _content(self._windows.get(version, []), number)

    def blended(self, path: str, number: int) -> Mapping[str, Any] | None:
        """Return the content of the index at a position in a path's blend; None if not recorded."""
        return _content(self._blends.get(path, []), number)


def _content(listed: Sequence[Any], number: int) -> Mapping[str, Any] | None:
    return {part: listed[number][2][part] for part in CONTENT} if number < len(listed) else None


def index_content(prefix: Path) -> Mapping[str, Any] | None:
    """Read the content of an index of training data; None if it cannot be read."""
    try:
        return fingerprint(prefix).to_json()
    except RefusedError:
        return None


def tokenizer_content(model: Path) -> Mapping[str, Any] | None:
    """Read the content of a tokenizer's file or folder; None if it cannot be read."""
    try:
        return {"sha256": tokenizer_fingerprint(model)}
    except RefusedError:
        return None
