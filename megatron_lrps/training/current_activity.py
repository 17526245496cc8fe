"""What this process tells those who look: where a start, an evaluation or a save is. Rank 0, in a plan's path."""

import contextlib
import functools
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from megatron_lrps.campaign.activity import Teller, What
from megatron_lrps.campaign.folders import PathFolder

_teller: Teller | None = None
_evaluations = 0


def begin(folder: PathFolder, token: str) -> None:
    """This process holds the path: from now on it is the one that tells."""
    global _teller
    _teller = Teller(folder, token)
    _teller.tell("starting")


def tell(what: What, **facts: Any) -> None:
    """Say what this process does from now on."""
    if _teller is not None:
        _teller.tell(what, **facts)


def told(what: What, hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that says what it does before it does it; after a save, that training goes on."""

    @functools.wraps(hook)
    def wrapper(original: Any, *args: Any, **kwargs: Any) -> Any:
        tell(what, **({"total": args[0]} if what == "saving" else {}))
        try:
            return hook(original, *args, **kwargs)
        finally:
            if what == "saving":
                tell("training")

    return wrapper


@contextlib.contextmanager
def counted(
    forward_step: Callable[..., Any], model: list[Any], iterations: int | None, args: Namespace
) -> Iterator[Callable[..., Any]]:
    """Megatron's ``forward_step_func`` for an evaluation on a set, which counts its iterations on rank 0.

    Args:
        forward_step: Called once for each micro-batch and chunk of the model.
        model: The chunks of this rank.
        iterations: Of this evaluation; None: Megatron's ``--eval-iters``.
        args: Megatron's.
    """
    global _evaluations
    if _teller is None:
        yield forward_step
        return
    # One evaluation follows the other in the order of the sets; a run whose time is up in between ends.
    names = args.validation_set_names or [None]
    name = names[_evaluations % len(names)]
    _evaluations += 1
    total = args.eval_iters if iterations is None else iterations
    ranks = args.eval_micro_batch_size * args.data_parallel_size
    per_iteration = max(1, args.eval_global_batch_size // ranks) * len(model)
    calls = 0
    tell("evaluating", name=name, done=0, total=total)

    @functools.wraps(forward_step)
    def step(*given: Any, **kwargs: Any) -> Any:
        nonlocal calls
        result = forward_step(*given, **kwargs)
        calls += 1
        if calls % per_iteration == 0:
            tell("evaluating", name=name, done=calls // per_iteration, total=total)
        return result

    try:
        yield step
    finally:
        tell("training")
