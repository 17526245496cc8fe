"""What asynchronous saves need, said before the start."""

import pytest

from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan.async_saves import is_old_nvrx, needs_nvrx, refuse_ignored_async_save, refuse_without_nvrx

WORKER = {"use-persistent-ckpt-worker": True}


def test_async_saves_that_megatron_would_make_synchronous_are_refused() -> None:
    refuse_ignored_async_save({}, "megatron.")
    refuse_ignored_async_save({"async-save": False}, "megatron.")
    refuse_ignored_async_save({"async-save": True, **WORKER}, "megatron.")
    with pytest.raises(PlanError, match=r"megatron\.async-save is given without megatron\.use-persistent-ckpt-worker"):
        refuse_ignored_async_save({"async-save": True}, "megatron.")


def test_the_default_strategy_needs_nvidias_library() -> None:
    assert needs_nvrx({"async-save": True, **WORKER})
    assert not needs_nvrx({"async-save": True, "async-strategy": "mcore", **WORKER})
    assert not needs_nvrx({"async-strategy": "nvrx"})
    refuse_without_nvrx({"async-save": True}, "0.19.2", "0.6.0")
    refuse_without_nvrx({"async-save": True}, None, None)  # it is not known what the ranks will have
    refuse_without_nvrx({"async-save": True}, "0.16.1", None)  # which has no strategies
    with pytest.raises(
        RefusedError, match=r"needs nvidia-resiliency-ext 0\.6 or newer.* Fix: set async-strategy: mcore"
    ):
        refuse_without_nvrx({"async-save": True}, "0.19.2", None)


def test_an_old_library_lets_no_run_start() -> None:
    assert [is_old_nvrx(each) for each in ("0.4.1", "0.5.9rc1", "0.6.0", "0.10", "1.0")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    refuse_without_nvrx({}, "0.16.1", "0.4.1")
    with pytest.raises(RefusedError, match=r"nvidia-resiliency-ext is 0\.4\.1, and .* does not start"):
        refuse_without_nvrx({}, "0.19.2", "0.4.1")
