"""The present activity of this process, for ``lrps status``: a start, an evaluation, a save."""

import contextlib
import functools
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from megatron_lrps.campaign.activity import PULSE_S, Teller, What
from megatron_lrps.campaign.folders import PathFolder


class CurrentActivity:
    """The reporter of what the process does. It is silent until it holds a plan's path, so only rank 0 reports.

    Attributes:
        steps: The steps of progress so far on this rank: iterations, steps of an evaluation, begins and ends of saves.
        iteration: The last iteration of training that has ended; None if none has.
        longest_save: The seconds of the longest save so far, as far as training waited for it.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.iteration: int | None = None
        self.longest_save = 0.0
        self._teller: Teller | None = None
        self._evaluations = 0

    def begin(self, folder: PathFolder, token: str, pulse_s: float = PULSE_S) -> None:
        """Begin to report: this process holds the path now.

        Args:
            folder: The path's folder.
            token: The token of this process's hold of it.
            pulse_s: The seconds between two writes of the iteration.
        """
        self._teller = Teller(folder, token)
        self.tell("starting")
        self._teller.pulse(pulse_s)

    def iterated(self, iteration: int) -> None:
        """Note that an iteration of training has ended."""
        self.steps += 1
        self.iteration = iteration
        if self._teller is not None:
            self._teller.iterated(iteration)

    def tell(self, what: What, **facts: Any) -> None:
        """Say what this process does from now on."""
        self.steps += 1
        if self._teller is not None:
            self._teller.tell(what, **facts)

    @contextlib.contextmanager
    def saving(self, iteration: int) -> Iterator[None]:
        """Say in the block that an iteration is being saved, and after it that training goes on."""
        self.tell("saving", total=iteration)
        since = time.monotonic()
        try:
            yield
        finally:
            self.longest_save = max(self.longest_save, time.monotonic() - since)
            self.tell("training")

    def _counting(self, forward_step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward_step)
        def step(*given: Any, **kwargs: Any) -> Any:
            result = forward_step(*given, **kwargs)
            self.steps += 1
            return result

        return step

    @contextlib.contextmanager
    def evaluating(
        self, forward_step: Callable[..., Any], model: list[Any], iterations: int | None, args: Namespace
    ) -> Iterator[Callable[..., Any]]:
        """Yield Megatron's forward step for an evaluation on one set, which counts the iterations that are done.

        Args:
            forward_step: Called once for each micro-batch and chunk of the model.
            model: This rank's chunks of it.
            iterations: The iterations of this evaluation; None for Megatron's ``--eval-iters``.
            args: Megatron's arguments.
        """
        if self._teller is None:
            yield self._counting(forward_step)
            return
        # One evaluation follows the other in the order of the sets; a run whose time is up in between ends.
        names = args.validation_set_names or [None]
        name = names[self._evaluations % len(names)]
        self._evaluations += 1
        total = args.eval_iters if iterations is None else iterations
        ranks = args.eval_micro_batch_size * args.data_parallel_size
        per_iteration = max(1, args.eval_global_batch_size // ranks) * len(model)
        calls = 0
        self.tell("evaluating", name=name, done=0, total=total)

        @functools.wraps(forward_step)
        def step(*given: Any, **kwargs: Any) -> Any:
            nonlocal calls
            result = forward_step(*given, **kwargs)
            calls += 1
            if calls % per_iteration == 0:
                self.tell("evaluating", name=name, done=calls // per_iteration, total=total)
            return result

        try:
            yield step
        finally:
            self.tell("training")
