"""The plugin's hooks in Megatron: each passes one event of Megatron's run to this process's ``Session``.

A hook reads Megatron's arguments by their names and decides nothing itself. ``names`` says what is hooked, and
``patching`` puts the hooks in place.
"""

import contextlib
import functools
import os
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan.async_saves import MCORE, NVRX, installed, refuse_without_nvrx
from megatron_lrps.training import cpu as cpu_backend
from megatron_lrps.training.arguments import own_arguments, planned, require_cpu_backend
from megatron_lrps.training.megatron import checkpoint_writer, exit_signals, names, stock_order
from megatron_lrps.training.megatron import whole_validation as sets
from megatron_lrps.training.megatron.command_line import read_with_plan, refuse_wrong_values
from megatron_lrps.training.megatron.installed import import_training, installed_release, installed_version, untested
from megatron_lrps.training.megatron.patching import Call, Hook, is_in_place, put_in_place, replace, tell
from megatron_lrps.training.megatron.refusals import begin_training, judge
from megatron_lrps.training.megatron.tracker import TrackerWriter
from megatron_lrps.training.megatron.wheel_gaps import fill_wheel_gaps
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.rank_environment import refuse_wrong_numbers
from megatron_lrps.training.session import Session
from megatron_lrps.training.storage_failure import of_another_rank, storage_error
from megatron_lrps.training.trackers import wandb_run
from megatron_lrps.training.unplanned_branch import unplanned_branch

_ITS_RANK_SPEAKS_S = 10.0
"""The seconds that the rank whose save failed has to end first."""

_session: Session | None = None
"""The session of this process; None before its arguments are parsed, and if they name no path of the plugin."""


def install(*, cpu: bool = False) -> None:
    """Hook Megatron's functions, once.

    Args:
        cpu: Install the CPU backend first; Megatron must not have been imported yet.

    Raises:
        RefusedError: if Megatron is absent, of another version, or has other signatures.
    """
    if names.TRAIN.module in sys.modules and is_in_place(names.TRAIN):
        return
    refuse_wrong_numbers()
    refuse_without_nvrx(
        {}, installed(MCORE), installed(NVRX)
    )  # an old one beside Megatron lets no import of it succeed
    if cpu:
        cpu_backend.install()
    release, version = installed_release(), installed_version()
    import_training()
    hooks = [
        *(Hook(name, _parse_args) for name in release.parse_args),
        Hook(release.validate_args, _validate_args),
        Hook(release.set_globals, Call.proceed),
        Hook(release.initialize, _initialize),
        Hook(names.SET_UP_MODEL, _set_up_model),
        Hook(names.LOAD_CHECKPOINT, _in_a_session(_load)),
        Hook(names.GET_SCHEDULER, _in_a_session(_scheduler)),
        Hook(names.BUILD_DATASETS, _in_a_session(_datasets)),
        Hook(names.BUILD_ITERATORS, _in_a_session(lambda _, call: sets.iterators(names.arguments(), call.proceed))),
        Hook(names.DECIDE_EXIT, _in_a_session(_decide_exit)),
        Hook(names.SAVE, _in_a_session(_save)),
        Hook(names.TRAIN, _train),
        Hook(names.TRAINING_LOG, _in_a_session(_log)),
        Hook(names.EVALUATE, _in_a_session(lambda own, call: sets.evaluate(names.arguments(), call, own.activity))),
        Hook(names.EVALUATE_SETS, _in_a_session(lambda _, call: sets.evaluate_sets(names.arguments(), call))),
        Hook(names.READ_TRACKER, _in_a_session(_read_tracker)),
        Hook(names.WANDB_RUN, _in_a_session(_start_wandb)),
        Hook(names.WANDB_ARTIFACT, _in_a_session(_name_artifact)),
        *checkpoint_writer.hooks(release.start_writer, _writer_died),
    ]
    for name in (*names.ASKED, release.tracker_files):
        name.check(version, release.fix)
    put_in_place(hooks, version, release.fix, _report)
    fill_wheel_gaps()
    if (warning := untested(version)) is not None and os.environ.get("RANK", "0") == "0":
        print(f"lrps: {warning}", file=sys.stderr, flush=True)


def _report(error: LrpsError) -> None:
    """Say what ended this run; rank 0 records it."""
    _print(error)
    if _session is not None:
        _session.failed(error)


def _writer_died(error: LrpsError, code: int) -> int:
    """Say which writer has died, or which storage has failed it, and record it; returns the rank's exit code."""
    if _session is None:
        _print(error)
        return code
    return _session.writer_died(error, code, _print)


def _print(error: LrpsError) -> None:
    with contextlib.suppress(OSError):  # the log may be on the disk that has failed
        print(f"lrps: {error}", file=sys.stderr, flush=True)


def _in_a_session(hook: Callable[[Session, Call], Any]) -> Callable[[Call], Any]:
    """Return a hook that acts only if the plugin trains a path."""
    return lambda call: call.proceed() if _session is None else hook(_session, call)


def _parse_args(call: Call) -> Namespace:
    """Add the plugin's flags; with a plan, put its argument line in front of the user's."""
    global _session
    own = own_arguments(sys.argv[1:])
    plan = planned(own)
    require_cpu_backend(own)
    _session = Session(PathToTrain.of_plan(plan)) if plan is not None else None
    with read_with_plan(own, plan, call["extra_args_provider"]) as provider:
        args: Namespace = call.proceed(extra_args_provider=provider)
    refuse_wrong_values(args)
    if plan is None and args.lrps_fork_iter is not None:
        _session = Session(unplanned_branch(args))
    if _session is not None:
        _session.begins(args)
    return args


def _validate_args(call: Call) -> Any:
    """Let Megatron validate the arguments, and size evaluations where it does not."""
    result = call.proceed()
    sets.size_evaluations(call["args"])
    return result


def _initialize(call: Call) -> Any:
    """Let rank 0 decide where the path starts, and tell the others, once the ranks are connected."""
    result = call.proceed()
    if _session is not None:
        args = names.arguments()
        if args.exit_signal_handler:
            exit_signals.listen(_session.requests, _session.pace, _session.overdue)
        if _session.ranks_are_connected(args):
            raise SystemExit(0)
        _session.trackers.follow(names.TENSORBOARD_WRITER.get()(), args)
        if _session.committer is not None:
            files = installed_release().tracker_files
            replace(files.owner, files.key, TrackerWriter(files.get(), _session.path.own, _session.committer.commit))
    return result


def _start_wandb(session: Session, call: Call) -> Any:
    """Start W&B's run of a plan's path as one that goes on, in the campaign's group."""
    if session.path.planned is None or not wandb_run.is_writer(call["args"]):
        return call.proceed()
    return call.proceed(args=wandb_run.arguments_of_run(session.path, call["args"]))


def _name_artifact(session: Session, call: Call) -> Any:
    """Name a checkpoint in W&B by its campaign and path."""
    name, version = call.proceed()
    return wandb_run.artifact_name(session.path, call["save_dir"]) or name, version


def _set_up_model(call: Call) -> Any:
    """Refuse a script that drops ``--rope-scaling-factor``, as all do that build the model by Megatron's function."""
    made, args = call.proceed(), names.arguments()
    factor = getattr(args, "rope_scaling_factor", 8.0)
    if getattr(args, "use_rope_scaling", False) and factor not in (
        8.0,
        getattr(args, "applied_rope_scaling_factor", 8.0),
    ):
        raise RefusedError(
            f"--rope-scaling-factor is {factor:g}, but this script computes with 8, as megatron-core drops the flag.",
            "train with python -m megatron_lrps.pretrain, or leave the flag out.",
        )
    return made


def _load(session: Session, call: Call) -> Any:
    """Load the checkpoint found whole while the model was built, or an older one, or nothing."""
    from megatron_lrps.training.megatron.saved_states import vouched_states

    args = names.arguments()
    session.loads(args)
    if args.load:
        with vouched_states():
            return call.proceed()
    return call.proceed() if args.pretrained_checkpoint else (0, 0)


def _scheduler(session: Session, call: Call) -> Any:
    """Build the path's own scheduler in place of stock's."""
    from megatron_lrps.training.megatron.scheduler import PathSwitchingScheduler

    args, path = names.arguments(), session.path
    end = path.batches.samples(args.train_iters)
    return PathSwitchingScheduler(call["optimizer"], path.schedule, args, end=end)


def _datasets(session: Session, call: Call) -> Any:
    """Build, with a plan, the path's timeline in place of the script's data sets; without, in the parent's order."""
    from megatron_lrps.training.megatron import datasets, gpt

    session.activity.tell("reading")
    args, provider = names.arguments(), call["build_train_valid_test_datasets_provider"]
    if session.path.planned is None:
        samples = call["train_valid_test_num_samples"] or names.SAMPLE_COUNTS.get()()
        train, valid, test = stock_order.build(
            lambda wanted: call.proceed(train_valid_test_num_samples=wanted), samples, args
        )
    else:
        datasets.require_distributed(provider)
        built_here = functools.partial(gpt.is_dataset_built_on_rank, getattr(provider, "keywords", {}).get("vp_stage"))
        tree, path = session.path.planned.tree, session.path.planned.path
        train, valid, test = datasets.build_datasets(tree, path, args, gpt.dataset_config(args), built_here)
    return train, datasets.filled(valid, args), test


def _log(session: Session, call: Call) -> Any:
    """Judge an iteration's figures once Megatron has logged them."""
    result = call.proceed()
    session.iteration_logged(call["iteration"], call["loss_dict"], call["grad_norm"], skipped=call["skipped_iter"])
    return result


def _save(session: Session, call: Call) -> Any:
    """Save an iteration once."""

    def write() -> Any:
        # What was trained up to here is not trained again, so its figures may not be lost with the process.
        if (writer := names.TENSORBOARD_WRITER.get()()) is not None:
            writer.flush()
        return call.proceed()

    return session.save(call["iteration"], write, persistent=not call["non_persistent_ckpt"])


def _decide_exit(session: Session, call: Call) -> bool:
    """Save every fork point, whatever the save interval, and remember why a run ends early."""
    given = names.SAVE.parameters

    def save() -> Any:
        return names.SAVE.get()(**{name: call[name] for name in given if name != "non_persistent_ckpt"})

    def signalled() -> bool:
        return bool(names.arguments().exit_signal_handler) and exit_signals.received()

    return session.decide_exit(
        call["iteration"],
        decide=call.proceed,
        save=save,
        signalled=signalled,
        interval=lambda: names.arguments().exit_interval,
    )


def _train(call: Call) -> Any:
    """Give a run that stopped early its real exit code; Megatron leaves with 0 whatever the reason."""
    if _session is not None:
        _session.activity.tell("training")
    begin_training()
    try:
        return call.proceed()
    except (SystemExit, RuntimeError) as leaving:
        code = None if _session is None else _session.training_left(leaving)
        if code is None:
            raise
        raise SystemExit(code) from None


def _read_tracker(session: Session, call: Call) -> tuple[int, bool]:
    """Return the decided iteration, and read no tracker that a crash may have emptied or a parent is moving."""
    start = session.start.start
    if start is not None and start.checkpoint is not None:
        return start.iteration, False
    return call.proceed()  # type: ignore[no-any-return]


def finish() -> None:
    """Record that the path is trained. Call it when the script has returned."""
    if _session is not None:
        _session.finished()


def let_go() -> None:
    """Release the path. Call it before the process ends, however it does."""
    if _session is not None:
        _session.let_go()


def failure_of(error: BaseException) -> LrpsError | None:
    """Report and record the ``LrpsError`` behind an error that ended the script; None if its traceback says it all."""
    found: LrpsError | None = judge(error)
    if found is None:
        with contextlib.suppress(OSError):  # the log may be on the disk that has failed
            traceback.print_exception(error)
        if of_another_rank(error):
            time.sleep(_ITS_RANK_SPEAKS_S)  # the launcher ends all ranks with the code of the first that ends
        found = storage_error(error, _session.path.own if _session is not None else None)
    if found is not None:
        tell(found, _report)
    return found
