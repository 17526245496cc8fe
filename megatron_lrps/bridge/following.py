"""``follow``: Megatron-Bridge's ``pretrain`` trains a path of a plan."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.bridge.bridge_release import admit, refuse_unknown_bridge
from megatron_lrps.bridge.config_by_plan import decide
from megatron_lrps.bridge.config_refusals import refuse_several, refuse_uncountable, refuse_unfit
from megatron_lrps.bridge.followed_path import FollowedPath, say, set_followed
from megatron_lrps.bridge.path_callback import PathCallback
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.training.arguments import planned_path
from megatron_lrps.training.cpu import is_installed
from megatron_lrps.training.failure_word import leave_word
from megatron_lrps.training.megatron.patching import tell
from megatron_lrps.training.storage_failure import storage_error


@contextlib.contextmanager
def follow(
    config: Any, *, plan: Path | str = "plan.yaml", path: str = "main", allow: Sequence[str] = ()
) -> Iterator[list[PathCallback]]:
    """Train a path of a plan with Megatron-Bridge; the same program forks it, resumes it and ends it.

    ::

        with follow(config, plan="plan.yaml", path="v2") as callbacks:
            pretrain(config, forward_step, callbacks=callbacks)

    The plan sets on the config what it decides: length, schedule, folders, data. Call ``pretrain`` once inside of the
    block, with the callbacks first. The process then ends with 75 if the run stopped early and its last save is on
    disk, with 78 if it was refused, and with 74 if the storage failed.

    Args:
        config: Bridge's ConfigContainer.
        plan: The campaign's plan.
        path: The path of the plan to train: main, a version or a baseline.
        allow: Names of Megatron's arguments that may differ from the checkpoint's, as ``--lrps-allow``.

    Yields:
        The callbacks for ``pretrain``.

    Raises:
        SystemExit: with one of the exit codes above, after the reason in one line; 0 if the path is trained already.
    """
    followed: FollowedPath | None = None

    def report(error: LrpsError) -> None:
        say(error)
        if followed is not None:
            followed.failed(error)

    try:
        followed = _prepare(config, plan, path, allow)
        with _without_tracebacks_of_refusals():
            yield [PathCallback(followed)]
        followed.finished()
    except SystemExit as leaving:
        code = followed.left(leaving) if followed is not None else None
        if code is None:
            raise
        raise SystemExit(code) from None
    except LrpsError as error:
        tell(error, report)
        leave_word(error.exit_code, error)
        raise SystemExit(error.exit_code) from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # torch's CheckpointException is no Exception
        behind = storage_error(error, followed.to_train.own if followed is not None else None)
        if followed is not None:
            followed.left(error)
        if behind is None:
            raise
        tell(behind, report)
        leave_word(behind.exit_code, behind)
        raise SystemExit(behind.exit_code) from error
    finally:
        if followed is not None:
            set_followed(None)
            followed.let_go()


def _prepare(config: Any, plan: Path | str, path: str, allow: Sequence[str]) -> FollowedPath:
    """Prepare the config for the path; raises RefusedError and PlanError."""
    series = refuse_unknown_bridge()
    planned = planned_path(plan, path)
    if planned.tree.plan.launch.device == "cpu" and not is_installed():
        raise RefusedError(
            "launch.device is cpu in the plan, and Megatron-Bridge trains on GPUs.", "set launch.device: gpu."
        )
    batches = planned.tree.batches
    refuse_several(batches)
    refuse_uncountable(series, batches.samples(planned.path.end))
    refuse_unfit(config)
    decide(config, planned)
    followed = FollowedPath(config, planned, allow)
    # It inherits from Bridge, which is imported only once it is known to fit.
    from megatron_lrps.bridge.path_dataset import PathDataset

    config.dataset = PathDataset(followed, config.dataset)
    admit("megatron_lrps.")
    set_followed(followed)
    return followed


@contextlib.contextmanager
def _without_tracebacks_of_refusals() -> Iterator[None]:
    """Keep Bridge's log free of tracebacks of what ``follow`` says in one line: refusals and early ends."""

    def wanted(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], LrpsError | SystemExit))

    logger = logging.getLogger("megatron.bridge.training.pretrain")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
