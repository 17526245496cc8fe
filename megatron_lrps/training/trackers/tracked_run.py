"""A path as its trackers know it: one run with an id that stays, in one group for each campaign, without secrets."""

import re
import secrets
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.storage.files import read_json, write_atomic
from megatron_lrps.training.path_to_train import PathToTrain

RUN_ID = "tracked.json"
"""The file in a path's folder with the id of its run. It moves with the campaign, and is made anew for a new one."""
HIDDEN = "(hidden)"
_SECRET = re.compile(
    r"(^|_)(api_?key|access_?key|secret|password|passwd|credential|(auth|access|api|hf)_?token)s?(_|$)"
)
_CREDENTIALS = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A path as a tracker's run.

    Attributes:
        id: 32 hexadecimal digits, the same for every start of the path.
        group: The campaign.
        name: The path.
        facts: Where the path comes from, as texts.
        folder: The path's folder.
    """

    id: str
    group: str
    name: str
    facts: Mapping[str, str]
    folder: Path


def tracked_run(path: PathToTrain) -> TrackedRun:
    """Return a plan's path as a run; only the last rank may call it, because it makes the id at the first start.

    Raises:
        StorageError: if the id cannot be written.
    """
    assert path.planned is not None
    assert path.folder is not None
    campaign, planned = path.planned.tree.plan.campaign, path.planned.path
    facts = {"campaign": campaign, "path": planned.name, "fork": str(path.fork), "end": str(path.end)}
    if planned.parent is not None:
        facts["parent"] = planned.parent
    return TrackedRun(id=_id(path.folder.root), group=campaign, name=planned.name, facts=facts, folder=path.folder.root)


def _id(folder: Path) -> str:
    known = (read_json(folder / RUN_ID) or {}).get("id")
    if isinstance(known, str) and re.fullmatch(r"[0-9a-f]{32}", known):
        return known
    made = secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RUN_ID, f'{{"id": "{made}"}}\n')
    return made


def settings_without_secrets(args: Namespace) -> dict[str, FlagValue]:
    """Return Megatron's arguments that are plain values, without what looks like a secret.

    A value is hidden if its name is that of a key, a password or a token of access, and a user in an address is left
    out.
    """
    return {name: _shown(name, value) for name, value in sorted(vars(args).items()) if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, str | int | float | bool) for each in value)
    return isinstance(value, str | int | float | bool)


def _shown(name: str, value: Any) -> FlagValue:
    if _SECRET.search(name.lower()):
        return HIDDEN
    if isinstance(value, list | tuple):
        return [_shown("", each) for each in value]  # type: ignore[misc]
    return _CREDENTIALS.sub("://", value) if isinstance(value, str) else value
