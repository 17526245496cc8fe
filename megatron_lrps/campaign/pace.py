"""The pace of a job's ranks: ``<path>/pace.json``, which its first rank rewrites while it trains.

As with ``doing.json``, no training depends on it, and leftovers of a killed job are ignored.
"""

import contextlib
import json
import os
from dataclasses import dataclass

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.storage.files import read_json
from megatron_lrps.storage.owner import Owner

FILE = "pace.json"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What the ranks of a job have needed for the latest iterations, each a list by rank.

    Attributes:
        iterations: The number of iterations that the medians are of.
        seconds: The median time of an iteration.
        own: The median seconds of an iteration in which the rank waited for no other.
        stages: The pipeline stage.
        nodes: The name of the node.
    """

    iterations: int
    seconds: float
    own: tuple[float, ...]
    stages: tuple[int, ...]
    nodes: tuple[str, ...]


def write_pace(folder: PathFolder, token: str, pace: Pace) -> None:
    """Replace the pace of the job that holds a path; a failure is ignored.

    Args:
        folder: The path's folder.
        token: The token of the job's ownership of the path.
        pace: The pace.
    """
    temporary = folder.root / f".{FILE}.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps({"token": token, **vars(pace)}), encoding="utf-8")
        temporary.replace(folder.root / FILE)


def pace_of(folder: PathFolder, owner: Owner | None) -> Pace | None:
    """Return the pace that the holder of a path reports; None if nobody holds it, or it has reported none.

    Args:
        folder: The path's folder.
        owner: The job that holds it, from ``ownership.holder``.
    """
    if owner is None or not owner.token:
        return None
    found = read_json(folder.root / FILE)
    if found is None or found.get("token") != owner.token:
        return None
    try:
        pace = Pace(
            iterations=int(found["iterations"]),
            seconds=float(found["seconds"]),
            own=tuple(float(each) for each in found["own"]),
            stages=tuple(int(each) for each in found["stages"]),
            nodes=tuple(str(each) for each in found["nodes"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return pace if len(pace.own) == len(pace.stages) == len(pace.nodes) else None
