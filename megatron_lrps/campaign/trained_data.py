"""Whether data and a tokenizer in another place are those that have been trained: by content, never by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.record_values import is_data
from megatron_lrps.data.fingerprint import fingerprint, tokenizer_fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Tree

_CONTENT = ("idx_sha256", "bin_bytes", "bin_sample_sha256")


class TrainedData:
    """What a campaign's records say of the content that its paths were trained on.

    Args:
        old: The accepted plan's tree.
    """

    def __init__(self, old: Tree) -> None:
        campaign = CampaignFolder(old.plan.folder)
        records = (read_record(campaign.path(path.name)) or {} for path in old.paths)
        data = [record["data"] for record in records if is_data(record.get("data"))]
        # A path that has read more of the timeline says more of it.
        data.sort(key=lambda each: len(each["windows"]))
        self._windows = {window["version"]: window["data"] for each in data for window in each["windows"]}
        self._tokenizer: str | None = data[-1]["tokenizer"] if data else None

    def same_index(self, version: str, number: int, before: Path, now: Path) -> bool:
        """Whether an index holds what was trained.

        Args:
            version: Whose training data it is.
            number: Its place in them.
            before: The prefix in the accepted plan.
            now: The prefix in the plan to be accepted.
        """
        if before == now:
            return True  # the ranks compare its content with the checkpoint's
        listed = self._windows.get(version, [])
        known = listed[number][2] if number < len(listed) else _print_of(before)
        if known is None:
            return False
        # Data that nothing reads any more may be gone; what is missing otherwise is refused as missing.
        found = _print_of(now)
        return found is None or all(found[key] == known.get(key) for key in _CONTENT)

    def same_tokenizer(self, before: Path | None, now: Path | None) -> bool:
        """Whether a tokenizer's file or folder gives the ids that were trained."""
        if before == now:
            return True
        if before is None or now is None:
            return False
        known = self._tokenizer or _tokenizer_of(before)
        return known is not None and _tokenizer_of(now) == known


def _print_of(prefix: Path) -> Mapping[str, Any] | None:
    try:
        return fingerprint(prefix).to_json()
    except RefusedError:
        return None


def _tokenizer_of(model: Path) -> str | None:
    try:
        return tokenizer_fingerprint(model)
    except RefusedError:
        return None
