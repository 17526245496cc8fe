"""Where the plugin meets ``megatron.training``: the one module that touches its names.

Each hook names the function it wraps and the parameters that it relies on; both are checked before anything
is replaced, and another Megatron is refused in plain words. Written for megatron-core 0.19.
"""

import argparse
import functools
import inspect
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from megatron_lrps.errors import EXIT_CONTINUE, LrpsError, RefusedError
from megatron_lrps.training import cpu as cpu_backend
from megatron_lrps.training import run as runs
from megatron_lrps.training import stock_order
from megatron_lrps.training.arguments import add_arguments, full_command_line, own_arguments, planned, prepare
from megatron_lrps.training.run import Run
from megatron_lrps.training.wheel import mend_wheel
from megatron_lrps.versions.folder import checkpoints_in
from megatron_lrps.versions.preflight import Identity

SUPPORTED = "0.19."
_REPORT_S = 2.0
_STATE, _FLOPS = ("model", "optimizer", "opt_param_scheduler"), "num_floating_point_operations_so_far"
_run: Run | None = None
_identity: Identity | None = None
_installed = False


def install(*, cpu: bool = False) -> None:
    """Wrap Megatron's functions, once.

    Args:
        cpu: Install the CPU backend first; Megatron must not have been imported yet.

    Raises:
        RefusedError: where Megatron is absent, of another version, or has other signatures.
    """
    global _installed
    if _installed:
        return
    if cpu:
        cpu_backend.install()
    try:
        from megatron.core.package_info import __version__ as version
        from megatron.training import arguments, checkpointing, training
    except ImportError as error:
        raise RefusedError(f"Megatron cannot be imported: {error}.", "install megatron-core 0.19.2.") from None
    if not version.startswith(SUPPORTED):
        raise RefusedError(f"megatron-core is {version}, the hooks know {SUPPORTED}x.", "install 0.19.2.")
    hooks: list[tuple[Any, str, tuple[str, ...], Callable[..., Any]]] = [
        (arguments, "parse_args", ("extra_args_provider", "ignore_unknown_args"), _parse_args),
        (training, "initialize_megatron", ("allow_no_cuda",), _initialize),
        (training, "get_optimizer_param_scheduler", ("optimizer",), _scheduler),
        (
            training,
            "build_train_valid_test_datasets",
            ("build_train_valid_test_datasets_provider", "train_valid_test_num_samples"),
            _datasets,
        ),
        (training, "checkpoint_and_decide_exit", (*_STATE, "iteration", _FLOPS, "checkpointing_context"), _decide_exit),
        (training, "save_checkpoint_and_time", ("iteration", *_STATE, _FLOPS, "checkpointing_context"), _save),
        (training, "train", ("forward_step_func", "model", "optimizer"), _train),
        (training, "evaluate", ("forward_step_func", "data_iterator", "model"), _evaluate),
        (checkpointing, "read_metadata", ("tracker_filename",), _read_tracker),
    ]
    for module, name, parameters, _ in hooks:
        _check(module, name, parameters, version)
    for module, name, _, wrapper in hooks:
        original = getattr(module, name)
        setattr(module, name, functools.wraps(original)(functools.partial(_refusing, wrapper, original)))
    mend_wheel()
    _installed = True


def _check(module: Any, name: str, parameters: tuple[str, ...], version: str) -> None:
    function = getattr(module, name, None)
    found = tuple(inspect.signature(function).parameters) if callable(function) else ()
    if found[: len(parameters)] != parameters:
        raise RefusedError(
            f"{module.__name__}.{name} of megatron-core {version} takes ({', '.join(found)}), where the plugin knows "
            f"({', '.join(parameters)}, ...).",
            "install megatron-core 0.19.2, unmodified.",
        )


def _refusing(wrapper: Callable[..., Any], original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a hook; an error of the family becomes its plain text and its own exit code, on every rank."""
    try:
        return wrapper(original, *args, **kwargs)
    except LrpsError as error:
        if _rank() == 0:
            _report(error)
        else:
            time.sleep(_REPORT_S)  # the first rank that leaves has the others killed: let rank 0 speak
        raise SystemExit(error.exit_code) from None


def _report(error: LrpsError) -> None:
    print(f"lrps: {error}", file=sys.stderr, flush=True)
    if _run is not None:
        name = "refused" if isinstance(error, RefusedError) else "failed"
        _run.event(name, message=str(error), exit_code=error.exit_code)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _parse_args(original: Any, extra_args_provider: Any = None, ignore_unknown_args: bool = False) -> Namespace:
    """Add the plugin's flags; with a plan, put its argument line in front of what the user gave."""
    global _run
    from megatron.training.arguments import add_megatron_arguments

    def provider(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        parser = add_arguments(parser)
        return extra_args_provider(parser) if extra_args_provider else parser

    def build_parser() -> argparse.ArgumentParser:
        return provider(add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False, add_help=False)))

    argv = sys.argv[1:]
    own = own_arguments(argv)
    plan = planned(own)
    if own.lrps_cpu and not cpu_backend.is_installed():
        raise RefusedError(
            "--lrps-cpu is given, but the CPU backend was not installed before Megatron was imported.",
            "start with `python -m megatron_lrps SCRIPT`, or call register(cpu=True) before importing megatron.",
        )
    _run = runs.planned_run(plan) if plan is not None else None
    given = sys.argv
    sys.argv = [given[0], *full_command_line(argv, own, plan, build_parser)]
    try:
        args: Namespace = original(provider, ignore_unknown_args)
    finally:
        sys.argv = given
    if plan is None and args.lrps_fork_iter is not None:
        _run = runs.unplanned_branch(args)
    if _run is not None:
        prepare(args)
        if _run.planned is not None:
            args.load = None  # decided when all ranks are up, in _initialize
    return args


def _initialize(original: Any, *args: Any, **kwargs: Any) -> Any:
    """Once the ranks are connected, rank 0 decides where the path starts, and tells the others."""
    global _identity
    result = original(*args, **kwargs)
    if _run is None:
        return result
    import torch
    from megatron.training import get_args

    megatron_args = get_args()
    decided: list[Any] = [None]
    if _rank() == 0:
        try:
            start, identity = runs.decide_start(_run, megatron_args)
            decided = [(start, identity, _run.order_samples, None)]
        except LrpsError as error:
            decided = [(None, None, None, error)]
    torch.distributed.broadcast_object_list(decided, src=0)
    start, _identity, order_samples, refusal = decided[0]
    if refusal is not None:
        raise refusal
    setattr(megatron_args, stock_order.ORDER_SAMPLES, order_samples)
    if runs.begin(_run, start, megatron_args, _identity, announce=_rank() == 0):
        raise SystemExit(0)
    return result


def _scheduler(original: Any, optimizer: Any) -> Any:
    """The path's own scheduler in place of stock's."""
    if _run is None:
        return original(optimizer)
    from megatron.training import get_args

    from megatron_lrps.training.scheduler import PathSwitchingScheduler

    args = get_args()
    return PathSwitchingScheduler(
        optimizer,
        schedule=_run.schedule,
        init_lr=args.lr_warmup_init,
        max_lr=args.lr,
        min_lr=args.min_lr,
        weight_decay=(args.start_weight_decay, args.end_weight_decay),
        decay_steps=args.train_iters * args.global_batch_size,
    )


def _datasets(original: Any, provider: Any, samples: Any = None) -> Any:
    """With a plan, the path's timeline in place of the script's data sets; without, the parent's order of them."""
    if _run is None:
        return original(provider, samples)
    from megatron.training import get_args, training

    from megatron_lrps.training import gpt
    from megatron_lrps.training.timeline import build_datasets

    if _run.planned is None:
        samples = samples or training.get_train_valid_test_num_samples()
        return stock_order.build(original, provider, samples, get_args())
    if not getattr(provider, "is_distributed", False):
        raise RefusedError(
            "The script's data set provider builds on some ranks only, and a timeline is built on all.",
            "set `provider.is_distributed = True`, as Megatron-LM's pretrain_gpt.py does.",
        )
    args = get_args()
    stage = getattr(provider, "keywords", {}).get("vp_stage")
    built_here = functools.partial(gpt.is_dataset_built_on_rank, stage)
    return build_datasets(_run.planned.tree, _run.planned.path, args, gpt.dataset_config(args), built_here)


def _evaluate(original: Any, *args: Any, **kwargs: Any) -> Any:
    """Let the script see the micro-batch size of the evaluation: upstream's tells it to receiving ranks."""
    if _run is None:
        return original(*args, **kwargs)
    from megatron.training import get_args

    megatron_args = get_args()
    training_size = megatron_args.micro_batch_size
    megatron_args.micro_batch_size = megatron_args.eval_micro_batch_size
    try:
        return original(*args, **kwargs)
    finally:
        megatron_args.micro_batch_size = training_size


def _save(original: Any, iteration: int, *args: Any, **kwargs: Any) -> Any:
    """Save, but never one iteration twice: a second save would write into the first one's files."""
    if _run is None:
        return original(iteration, *args, **kwargs)
    if _run.saved == iteration:
        return None
    result = original(iteration, *args, **kwargs)
    if not kwargs.get("non_persistent_ckpt"):
        from megatron.training import get_args

        _run.saved, megatron_args = iteration, get_args()
        if _rank() == 0 and not megatron_args.async_save:
            _run.event("saved", iteration=iteration)
            runs.record(_run, megatron_args, _identity, "training", checkpoints_in(_run.own)[0])
    return result


def _decide_exit(original: Any, *args: Any) -> Any:
    """Save every fork point, whatever the save interval, and remember why a run ends early."""
    exits = original(*args)
    if _run is None:
        return exits
    iteration = args[3]
    if iteration in _run.fork_points:
        from megatron.training import training

        training.save_checkpoint_and_time(iteration, *args[:3], args[4], args[5], train_data_iterator=args[6])
    if exits and iteration < _run.end:
        from megatron.training import get_args

        _run.stopped = _reason(get_args(), iteration)
        if _rank() == 0:
            _run.event("stopped", reason=_run.stopped, iteration=iteration, exit_code=EXIT_CONTINUE)
    return exits


def _reason(args: Namespace, iteration: int) -> str:
    from megatron.training import global_vars

    if args.exit_signal_handler and any(global_vars.get_signal_handler().signals_received()):
        return "signal"
    if args.exit_interval and iteration % args.exit_interval == 0:
        return "interval"
    return "duration"


def _train(original: Any, *args: Any, **kwargs: Any) -> Any:
    """Give a run that stopped early its real exit code; Megatron leaves with 0 whatever the reason."""
    try:
        return original(*args, **kwargs)
    except SystemExit as leaving:
        if _run is not None and _run.stopped is not None and not leaving.code:
            raise SystemExit(EXIT_CONTINUE) from None
        raise


def _read_tracker(original: Any, tracker_filename: str) -> tuple[int, bool]:
    """The decided iteration, without reading a tracker that a crash may have emptied or a parent is moving."""
    if _run is not None and _run.start is not None and _run.start.folder is not None:
        return _run.start.iteration, False
    return original(tracker_filename)  # type: ignore[no-any-return]


def finish() -> None:
    """Record that the path is trained. Call it when the script has returned."""
    if _run is None or _rank() != 0:
        return
    complete = checkpoints_in(_run.own)[0]
    if _run.end in complete:
        from megatron.training import get_args

        _run.event("done", iteration=_run.end)
        runs.record(_run, get_args(), _identity, "trained", complete)
