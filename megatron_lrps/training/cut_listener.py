"""Main's side of a cut: all ranks learn of a request at the same iteration, and its save is the answer.

The request travels with the exit signals, which Megatron gathers from all ranks at every iteration: it costs one
look for a file on rank 0, and no communication of its own (``training/megatron/exit_signals.py``).
"""

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.cut_request import EVENT, CutRequest, asked, request_file, withdraw
from megatron_lrps.training.path_to_train import PathToTrain


class CutListener:
    """The listener for requests to cut a version off the path; only a plan's main path gets them.

    Args:
        path: The path that this process trains.
        rank: This process's rank.

    Attributes:
        listens: Whether the path can be cut.
        wanted: Whether a cut is asked for at this iteration; the same on all ranks.
    """

    def __init__(self, path: PathToTrain, rank: int) -> None:
        self.listens = path.planned is not None and path.planned.path.kind == "main"
        self._path, self._rank = path, rank
        self._main = path.folder if self.listens else None
        self._answers: dict[int, CutRequest] = {}
        self.wanted = False

    def is_asked(self) -> bool:
        """Whether a request lies in main's folder; only rank 0 looks."""
        return self._main is not None and self._rank == 0 and request_file(self._main).exists()

    def take(self, iteration: int) -> bool:
        """Return whether the iteration is to be saved for a cut. Rank 0 remembers which request its save answers."""
        if self._main is not None and self.wanted and self._rank == 0 and (request := asked(self._main)) is not None:
            self._answers[iteration] = request
            if iteration in Checkpoints.in_folder(self._path.own).complete:  # its own turn to be saved came first
                self.answer(iteration)
        return self.wanted

    def answer(self, iteration: int) -> None:
        """Tell whoever asked for a cut at this iteration that it is saved; do nothing if nobody asked."""
        request = self._answers.pop(iteration, None)
        if self._main is not None and request is not None:
            self._path.log(EVENT, iteration=iteration, version=request.name, token=request.token)
            withdraw(self._main, request)
