"""A rank's side of requests: all ranks learn of one at the same iteration, and its save is the answer.

Requests travel with the exit signals, which Megatron gathers from all ranks at every iteration: they cost one look for
files on rank 0, once a second, and no communication of their own (``training/megatron/exit_signals.py``).
"""

import time

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.path_request import EVENTS, KINDS, Kind, PathRequest, asked, request_file, withdraw
from megatron_lrps.storage.owner import owner_in
from megatron_lrps.storage.ownership import FILE
from megatron_lrps.training.path_to_train import PathToTrain

LOOK_S = 1.0
"""The minimum time between two looks for a request, in seconds."""


class RequestListener:
    """The listener for requests to a path's job. Only a plan's main path is cut.

    Args:
        path: The path that this process trains.
        rank: This process's rank.

    Attributes:
        listens: Whether the path can be asked for anything.
        wanted: What is asked for at this iteration; the same on all ranks.
    """

    def __init__(self, path: PathToTrain, rank: int) -> None:
        self._kinds: tuple[Kind, ...] = ()
        if path.planned is not None:
            self._kinds = KINDS if path.planned.path.kind == "main" else ("save", "stop")
        self.listens = path.folder is not None and bool(self._kinds)
        self._path, self._rank = path, rank
        self._answers: dict[int, list[PathRequest]] = {}
        self._looked = -LOOK_S
        self.wanted: frozenset[Kind] = frozenset()

    def asked_now(self) -> frozenset[Kind]:
        """Return what this path's job is asked for; only rank 0 looks."""
        folder, now = self._path.folder, time.monotonic()
        if folder is None or self._rank or now - self._looked < LOOK_S:
            return frozenset()
        self._looked = now
        return frozenset(
            kind for kind in self._kinds if request_file(folder, kind).exists() and self._request(kind) is not None
        )

    def take(self, iteration: int) -> bool:
        """Return whether the iteration is to be saved. Rank 0 remembers which requests its save answers."""
        if self.wanted and self._rank == 0:
            requests = [request for kind in self.wanted if (request := self._request(kind)) is not None]
            self._answers.setdefault(iteration, []).extend(requests)
            if iteration in Checkpoints.in_folder(self._path.own).complete:  # its own turn to be saved came first
                self.answer(iteration)
        return bool(self.wanted)

    def answer(self, iteration: int) -> None:
        """Tell whoever asked at this iteration that it is saved; do nothing if nobody asked."""
        for request in self._answers.pop(iteration, []):
            if self._path.folder is not None:
                version = {"version": request.name} if request.kind == "cut" else {}
                self._path.log(EVENTS[request.kind], iteration=iteration, token=request.token, **version)
                withdraw(self._path.folder, request)

    def _request(self, kind: Kind) -> PathRequest | None:
        """Return a request to this process; one to an earlier job of the path is left behind, and counts as none."""
        folder = self._path.folder
        if folder is None or (request := asked(folder, kind)) is None:
            return None
        if request.holder is None:
            return request
        try:
            mine = owner_in((folder.root / FILE).read_bytes()).token
        except OSError:
            return None
        return request if request.holder == mine else None
