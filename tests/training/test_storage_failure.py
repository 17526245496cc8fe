"""The storage is named as the cause where Megatron's writer has dropped the number of the error."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.checkpoint.api import CheckpointException, _wrap_exception

from megatron_lrps.training.storage_failure import of_another_rank, storage_error


def failed(says: str) -> CheckpointException:
    """Return what Megatron raises on the rank whose writer failed."""
    cause = RuntimeError(f"Worker failure: An error is caught while starting worker 0, error: {says}")
    return CheckpointException("write", {1: _wrap_exception(cause)})


def test_the_storage_is_at_fault_where_only_the_class_of_its_error_came_through(tmp_path: Path) -> None:
    found = storage_error(failed("<class 'OSError'>"), tmp_path)
    assert found is not None
    assert found.exit_code == 74
    assert "Megatron's writer has put the reason into the log, further up. It is on " in str(found)


@pytest.mark.parametrize("says", ["<class 'FileNotFoundError'>", "<class 'ValueError'>", ""])
def test_other_failures_of_the_writer_are_not_the_storages(says: str, tmp_path: Path) -> None:
    assert storage_error(failed(says), tmp_path) is None


def test_before_the_path_is_known_the_file_or_the_log_is_named(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    code = (
        "import errno, sys; from megatron_lrps.training.storage_failure import storage_error; "
        "print(storage_error(OSError(errno.ENOSPC, 'full'), None), file=sys.stderr)"
    )
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", code], stderr=log, check=True)
    said = (tmp_path / "log").read_text()
    assert said.startswith(
        f"A write to {tmp_path}/log failed before training began: No space left on device. It is on "
    )
    assert said.endswith(" are free. Fix: make room (lrps gc shows what can go), then run the same command.\n")
    full.filename = f"{tmp_path}/cache"
    assert f"A write to {tmp_path}/cache failed" in str(storage_error(full, None))
    by_c = RuntimeError("/dev/shm/nccl: No space left on device")
    assert "A write failed before training began: No space left on device." in str(storage_error(by_c, None))
    assert storage_error(OSError(errno.ENOENT, "no such file"), None) is None


def test_a_rank_knows_that_another_one_failed() -> None:
    assert of_another_rank(CheckpointException("write", {}))
    assert not of_another_rank(failed("<class 'OSError'>"))
    assert not of_another_rank(RuntimeError("anything"))
