"""Derived event files: the same events are the same bytes, and a file on disk is left, grown or replaced."""

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from megatron_lrps.errors import StorageError
from megatron_lrps.monitor.scalars import read_run
from megatron_lrps.monitor.tensorboard.event_file import encode, put, scalar, text

FIRST, SECOND = "events.out.tfevents.0000000000.lrps", "events.out.tfevents.0000000001.lrps"


def content(*values: float) -> bytes:
    return encode([scalar("lm loss", step, value, 9.0) for step, value in enumerate(values, 1)], began=8.0)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_tensorboard_reads_what_was_written(tmp_path):
    put(tmp_path, encode([scalar("lm loss", 7, 2.5, 9.0), text("said", 8, "**it**", 10.0)], began=8.0))
    version, loss, said = EventFileLoader(str(tmp_path / FIRST)).Load()
    assert (version.file_version, version.wall_time) == ("brain.Event:2", 8.0)
    assert (loss.step, loss.wall_time, loss.summary.value[0].tensor.float_val[0]) == (7, 9.0, 2.5)
    assert said.summary.value[0].tensor.string_val[0] == b"**it**"


def test_the_readers_of_what_was_logged_leave_it_out(tmp_path, log_job):
    log_job(tmp_path, [("lm loss", 1, 4.0)])
    put(tmp_path, content(9.0, 9.0))
    assert read_run(tmp_path) == {"lm loss": [(1, 4.0)]}
    assert sorted(read_run(tmp_path)) == ["lm loss"]


def test_the_same_content_changes_nothing(tmp_path):
    assert put(tmp_path, content(1.0, 2.0))
    before = (tmp_path / FIRST).stat()
    assert not put(tmp_path, content(1.0, 2.0))
    assert (tmp_path / FIRST).stat() == before


def test_more_of_the_same_is_appended_to_the_file(tmp_path):
    put(tmp_path, content(1.0))
    before = (tmp_path / FIRST).stat().st_ino
    assert put(tmp_path, content(1.0, 2.0))
    assert (tmp_path / FIRST).stat().st_ino == before  # a TensorBoard that has it open goes on reading it
    assert (tmp_path / FIRST).read_bytes() == content(1.0, 2.0)


def test_another_past_is_another_file(tmp_path):
    put(tmp_path, content(1.0, 2.0))
    assert put(tmp_path, content(1.0, 3.0, 4.0))
    assert names(tmp_path) == [SECOND]
    assert (tmp_path / SECOND).read_bytes() == content(1.0, 3.0, 4.0)


@pytest.mark.parametrize("left", [0, 1, 20, 60])
def test_a_torn_file_is_whole_again(tmp_path, left):
    put(tmp_path, content(1.0, 2.0))
    (tmp_path / FIRST).write_bytes(content(1.0, 2.0)[:left])
    assert put(tmp_path, content(1.0, 2.0))
    (name,) = names(tmp_path)
    assert (tmp_path / name).read_bytes() == content(1.0, 2.0)


def test_no_content_is_no_file_and_megatrons_stay(tmp_path, log_job):
    logged = log_job(tmp_path, [("lm loss", 1, 4.0)])
    put(tmp_path, content(1.0))
    assert put(tmp_path, None)
    assert not put(tmp_path, None)
    assert names(tmp_path) == [logged.name]


def test_a_file_that_a_crash_left_beside_the_newest_goes(tmp_path):
    put(tmp_path, content(1.0))
    (tmp_path / SECOND).write_bytes(content(2.0))
    assert put(tmp_path, content(2.0))
    assert names(tmp_path) == [SECOND]


def test_a_disk_that_refuses_is_named(tmp_path):
    (tmp_path / FIRST).mkdir()
    with pytest.raises(StorageError, match=FIRST):
        put(tmp_path, content(1.0))
