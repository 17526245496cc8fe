"""Where the plugin meets ``megatron.training``: the one module that touches its names.

Each hook's function and the parameters it relies on are checked before anything is replaced. For megatron-core 0.19.
"""

import contextlib
import functools
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from megatron_lrps.errors import LrpsError, RefusedError, StorageError
from megatron_lrps.training import cpu as cpu_backend
from megatron_lrps.training.alert_raising import LOGGED, Alarm
from megatron_lrps.training.arguments import own_arguments, planned, prepare, require_cpu_backend
from megatron_lrps.training.current_activity import told
from megatron_lrps.training.cut_listener import CutListener, listen
from megatron_lrps.training.megatron import stock_order, whole_validation
from megatron_lrps.training.megatron.command_line import read_with_plan, refuse_wrong_values
from megatron_lrps.training.megatron.patching import Hook, nothing_more, put_in_place, tell
from megatron_lrps.training.megatron.refusals import begin_training, judge
from megatron_lrps.training.megatron.wheel_gaps import fix_wheel
from megatron_lrps.training.rank_environment import refuse_wrong_numbers
from megatron_lrps.training.save import STOP_S, Committer, TrackerWriter, clear_unfinished, storage_error
from megatron_lrps.training.session import Run, note_stop, planned_run, record_stop, unplanned_branch

SUPPORTED = "0.19."
_STATE = ("model", "optimizer", "opt_param_scheduler")
_SAVED = (*_STATE, "num_floating_point_operations_so_far", "checkpointing_context")
_BUILT = ("build_train_valid_test_datasets_provider", "train_valid_test_num_samples")
_EVALUATED = ("prefix", "forward_step_func", "data_iterator")
_run: Run | None = None
_committer: Committer | None = None
_cuts: CutListener | None = None
_alarm: Alarm | None = None
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
    refuse_wrong_numbers()
    if cpu:
        cpu_backend.install()
    try:
        from megatron.core.package_info import __version__ as version
        from megatron.training import arguments, checkpointing, training
    except ImportError as error:
        raise RefusedError(f"Megatron cannot be imported: {error}.", "install megatron-core 0.19.2.") from None
    if not version.startswith(SUPPORTED):
        raise RefusedError(f"megatron-core is {version}, the hooks know {SUPPORTED}x.", "install 0.19.2.")
    hooks = [
        Hook(arguments, "parse_args", ("extra_args_provider", "ignore_unknown_args"), _parse_args),
        Hook(arguments, "validate_args", ("args",), nothing_more),
        Hook(arguments, "set_global_variables", ("args",), nothing_more),
        Hook(training, "initialize_megatron", ("allow_no_cuda",), _initialize),
        Hook(training, "setup_model_and_optimizer", ("model_type",), nothing_more),
        Hook(training, "load_checkpoint", ("ddp_model", *_STATE[1:]), told("loading", _in_a_run(_load))),
        Hook(training, "get_optimizer_param_scheduler", ("optimizer",), _in_a_run(_scheduler)),
        Hook(training, "build_train_valid_test_datasets", _BUILT, told("reading", _in_a_run(_datasets))),
        Hook(training, "build_train_valid_test_data_iterators", _BUILT[:1], _in_a_run(whole_validation.iterators)),
        Hook(training, "checkpoint_and_decide_exit", (*_STATE, "iteration", *_SAVED[3:]), _decide_exit),
        Hook(training, "save_checkpoint_and_time", ("iteration", *_SAVED), told("saving", _save)),
        Hook(training, "train", ("forward_step_func", "model", "optimizer"), told("training", _train)),
        Hook(training, "training_log", LOGGED, _log),
        Hook(
            training, "evaluate", ("forward_step_func", "data_iterator", "model"), _in_a_run(whole_validation.evaluate)
        ),
        Hook(training, "evaluate_and_print_results", _EVALUATED, _in_a_run(whole_validation.evaluate_sets)),
        Hook(checkpointing, "read_metadata", ("tracker_filename",), _read_tracker),
    ]
    put_in_place(hooks, version, _report)
    fix_wheel()
    _installed = True


def _report(error: LrpsError) -> None:
    """Say what ended this run; rank 0 records it."""
    print(f"lrps: {error}", file=sys.stderr, flush=True)
    if _run is not None and _rank() == 0:
        with contextlib.suppress(StorageError):  # a full disk takes no report either
            _run.event(error.event, message=str(error), exit_code=error.exit_code)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _in_a_run(wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that is in force where the plugin trains, and is given Megatron's arguments first."""

    def hook(original: Any, *args: Any, **kwargs: Any) -> Any:
        if _run is None:
            return original(*args, **kwargs)
        from megatron.training import get_args

        return wrapper(get_args(), original, *args, **kwargs)

    return hook


def _parse_args(original: Any, extra_args_provider: Any = None, ignore_unknown_args: bool = False) -> Namespace:
    """Add the plugin's flags; with a plan, put its argument line in front of what the user gave."""
    global _run
    own = own_arguments(sys.argv[1:])
    plan = planned(own)
    require_cpu_backend(own)
    _run = planned_run(plan) if plan is not None else None
    with read_with_plan(own, plan, extra_args_provider) as provider:
        args: Namespace = original(provider, ignore_unknown_args)
    refuse_wrong_values(args)
    if plan is None and args.lrps_fork_iter is not None:
        _run = unplanned_branch(args)
    if _run is not None:
        prepare(args)
        if _run.planned is not None:
            args.load = None  # decided when all ranks are up, in _initialize
    return args


def _initialize(original: Any, *args: Any, **kwargs: Any) -> Any:
    """Once the ranks are connected, rank 0 decides where the path starts, and tells the others."""
    global _alarm
    result = original(*args, **kwargs)
    if _run is None:
        return result
    from megatron.training import get_args

    from megatron_lrps.training.start import agree

    megatron_args = get_args()
    _alarm = Alarm(_run, megatron_args) if _run.planned is not None else None
    # Checkpoints are read as data: an object that needs code to be rebuilt is an error, not a call.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    _listen(_run, megatron_args)
    if agree(_run, megatron_args):
        raise SystemExit(0)
    if _rank() == 0:
        _commit_saves(_run, megatron_args)
    return result


def _listen(run: Run, args: Namespace) -> None:
    """Let SIGTERM, which launchers send, save and stop as the exit signal does; main listens for cuts too."""
    global _cuts
    if not args.exit_signal_handler:
        return
    from megatron.training import dist_signal_handler, global_vars

    handler = global_vars.get_signal_handler()
    signal.signal(signal.SIGTERM, lambda *_: setattr(handler, "_signal_received", True))
    _cuts = listen(run, _rank(), handler, dist_signal_handler.all_gather_item)


def _commit_saves(run: Run, args: Namespace) -> None:
    """Make Megatron's writing of the tracker the moment from which a checkpoint counts."""
    global _committer
    from megatron.training import checkpointing

    _committer = Committer(run, args)
    checkpointing.maybe_msc = TrackerWriter(checkpointing.maybe_msc, run.own, _committer.commit)


def _load(args: Namespace, original: Any, *given: Any, **named: Any) -> Any:
    """Load what was found whole while the model was built, or an older checkpoint, or nothing."""
    from megatron_lrps.training.start import settle, vouched_states

    assert _run is not None
    settle(_run, args)
    if args.load:
        with vouched_states():
            return original(*given, **named)
    return original(*given, **named) if args.pretrained_checkpoint else (0, 0)


def _scheduler(args: Namespace, original: Any, optimizer: Any) -> Any:
    """The path's own scheduler in place of stock's."""
    from megatron_lrps.training.megatron.scheduler import PathSwitchingScheduler

    assert _run is not None
    return PathSwitchingScheduler.of(optimizer, _run.schedule, args)


def _datasets(args: Namespace, original: Any, provider: Any, samples: Any = None) -> Any:
    """With a plan, the path's timeline in place of the script's data sets; without, the parent's order of them."""
    from megatron.training import training

    from megatron_lrps.training.megatron import gpt
    from megatron_lrps.training.timeline import build_datasets, filled, require_distributed

    assert _run is not None
    if _run.planned is None:
        samples = samples or training.get_train_valid_test_num_samples()
        train, valid, test = stock_order.build(original, provider, samples, args)
    else:
        require_distributed(provider)
        built_here = functools.partial(gpt.is_dataset_built_on_rank, getattr(provider, "keywords", {}).get("vp_stage"))
        tree, path = _run.planned.tree, _run.planned.path
        train, valid, test = build_datasets(tree, path, args, gpt.dataset_config(args), built_here)
    return train, filled(valid, args), test


def _log(original: Any, *args: Any, **kwargs: Any) -> Any:
    """Judge an iteration's figures once Megatron has logged them."""
    result = original(*args, **kwargs)
    if _alarm is not None:
        _alarm.see(args[3], args[0], args[7], skipped=args[6])
    return result


def _save(original: Any, iteration: int, *args: Any, **kwargs: Any) -> Any:
    """Save, but never one iteration twice: a second save would write into the first one's files."""
    if _run is None:
        return original(iteration, *args, **kwargs)
    if _run.saved == iteration:
        return None
    from megatron.training import global_vars

    # What was trained up to here is not trained again, so its figures may not be lost with the process.
    if (writer := global_vars.get_tensorboard_writer()) is not None:
        writer.flush()
    persistent = not kwargs.get("non_persistent_ckpt")
    if persistent and _run.start is not None and iteration in _run.start.skipped:
        clear_unfinished(_run.own, iteration, rank=_rank())
    result = original(iteration, *args, **kwargs)
    if persistent:
        _run.saved = iteration
    return result


def _decide_exit(original: Any, *args: Any) -> Any:
    """Save every fork point, whatever the save interval, and remember why a run ends early."""
    if _run is None:
        return original(*args)
    if _run.ownership is not None and _run.ownership.lost:
        raise RefusedError(_run.ownership.lost, "see which job trains the path now; this one has saved nothing more.")
    exits = original(*args)
    iteration = args[3]
    wanted = _cuts is not None and _cuts.take(_run, iteration)
    at_end_of_part = iteration == _run.until < _run.end
    if wanted or at_end_of_part or iteration in _run.fork_points:
        from megatron.training import training

        training.save_checkpoint_and_time(iteration, *args[:3], args[4], args[5], train_data_iterator=args[6])
    exits = exits or at_end_of_part
    if exits and iteration < _run.end:
        from megatron.training import get_args, global_vars

        megatron_args = get_args()
        signals = megatron_args.exit_signal_handler and global_vars.get_signal_handler().signals_received()
        note_stop(_run, iteration, signals, megatron_args.exit_interval)
    return exits


def _train(original: Any, *args: Any, **kwargs: Any) -> Any:
    """Give a run that stopped early its real exit code; Megatron leaves with 0 whatever the reason."""
    begin_training()
    try:
        return original(*args, **kwargs)
    except (SystemExit, RuntimeError) as leaving:
        if _alarm is not None:
            _alarm.see_end(leaving)
        if _run is None or _run.stopped is None or getattr(leaving, "code", True):
            raise
        raise SystemExit(record_stop(_run, rank=_rank())) from None


def _read_tracker(original: Any, tracker_filename: str) -> tuple[int, bool]:
    """The decided iteration, without reading a tracker that a crash may have emptied or a parent is moving."""
    if _run is not None and _run.start is not None and _run.start.folder is not None:
        return _run.start.iteration, False
    return original(tracker_filename)  # type: ignore[no-any-return]


def finish() -> None:
    """Record that the path is trained. Call it when the script has returned."""
    if _committer is not None:
        _committer.finish()


def let_go() -> None:
    """Give the path back. Call it before the process ends, however it does."""
    if _alarm is not None:
        _alarm.settle(STOP_S)
    if _committer is not None:
        _committer.settle(STOP_S)
    if _run is not None and _run.ownership is not None:
        _run.ownership.release()


def failure_of(error: BaseException) -> LrpsError | None:
    """What an error that ended the script is taken for, said and recorded; None where it is what its traceback says."""
    failure: LrpsError | None = judge(error)
    if failure is None:
        traceback.print_exception(error)
        failure = storage_error(error, _run.own) if _run is not None else None
    if failure is not None:
        tell(failure, _report)
    return failure
