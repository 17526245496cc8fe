"""Files that Megatron's arguments name and whose content belongs to a path's identity; a plan's own data apart."""

import json
from collections.abc import Mapping
from typing import Any

from megatron_lrps.campaign.past import Past
from megatron_lrps.data.fingerprint import file_sha256
from megatron_lrps.plan.megatron_arguments import flag_of

NAMED_FILES = "lrps_named_files"
"""Megatron argument that carries their hashes into every checkpoint, as JSON."""
_FILES = ("vocab_file", "merge_file", "metadata_path", "te_precision_config_file")
"""Destinations: what a token is, and in which format a layer computes. Other files are read into arguments that are
compared, or are written."""


def named_files(args: Mapping[str, Any]) -> str:
    """The content of each such file that a run names, for ``NAMED_FILES``; raises RefusedError where one is missing."""
    return json.dumps({name: file_sha256(str(args[name])) for name in _FILES if args.get(name)})


def refuse_other_files(checkpoint: Mapping[str, Any], run: Mapping[str, Any], name: str) -> None:
    """Refuse a run whose files hold something else than those that trained the checkpoint.

    Args:
        checkpoint: Arguments saved in the checkpoint, by destination. A checkpoint of stock
            Megatron or of lrps 0.1 does not say.
        run: The arguments of this run, likewise.
        name: The checkpoint, for the message.

    Raises:
        RefusedError: naming the argument and both contents.
    """
    there = checkpoint.get(NAMED_FILES)
    try:
        recorded = json.loads(there) if isinstance(there, str) else None
    except ValueError:
        recorded = None
    if isinstance(recorded, dict):
        past, now = (Past(values=_values(each)) for each in (recorded, json.loads(named_files(run))))
        past.refuse_run(now, name)


def _values(hashes: Mapping[str, Any]) -> dict[str, object]:
    return {f"{flag_of(key)}, the content of its file": hashes.get(key, "none") for key in _FILES}
