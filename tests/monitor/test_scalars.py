"""Reading event files: which of several values counts, and what a killed writer leaves."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.event_records import checksum
from megatron_lrps.monitor.scalars import read_run, read_scalars


def test_a_folder_without_files_holds_nothing(tmp_path):
    assert read_scalars(tmp_path / "absent", "lm loss") == []
    assert sorted(read_run(tmp_path)) == []


def test_values_come_back_in_order_at_float32(tmp_path, log_job):
    log_job(tmp_path, [("lm loss", 1, 2.5), ("grad-norm", 1, 1.0), ("lm loss", 2, 0.1), ("lm loss vs samples", 8, 0.1)])
    nearest = struct.unpack("f", struct.pack("f", 0.1))[0]
    assert read_scalars(tmp_path, "lm loss") == [(1, 2.5), (2, nearest)]
    assert read_scalars(tmp_path, "lm loss vs samples") == [(8, nearest)]
    assert sorted(read_run(tmp_path)) == ["grad-norm", "lm loss", "lm loss vs samples"]
    assert set(read_run(tmp_path, ["grad-norm"])) == {"grad-norm"}


def test_torchs_writer_with_its_texts(tmp_path):
    # Megatron writes every argument as a text at the step it resumes from; that step was trained before.
    from torch.utils.tensorboard import SummaryWriter

    first = SummaryWriter(log_dir=str(tmp_path))
    first.add_text("seed", "1", global_step=0)
    for step in (1, 2):
        first.add_scalar("lm loss", float(step), step)
    first.close()
    second = SummaryWriter(log_dir=str(tmp_path))
    second.add_text("seed", "1", global_step=2)
    second.add_scalar("lm loss", 30.0, 3)
    second.close()
    assert read_scalars(tmp_path, "lm loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert sorted(read_run(tmp_path)) == ["lm loss"]


def test_the_first_of_three_values_at_a_step_counts(tmp_path, log_job):
    tag = "lm loss validation-v1-web"
    log_job(tmp_path, [(tag, 10, 3.0), (tag, 20, 2.0), (tag, 20, 2.0), (tag, 20, 9.0)])
    assert read_scalars(tmp_path, tag) == [(10, 3.0), (20, 2.0)]


def test_a_restart_replaces_from_its_first_step_on(tmp_path, log_job):
    log_job(tmp_path, [("lm loss", i, 1.0) for i in range(1, 8)])
    log_job(tmp_path, [("lm loss", i, 2.0) for i in range(5, 7)])  # resumed at 4, killed at 6: 7 is not there any more
    assert read_scalars(tmp_path, "lm loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0), (6, 2.0)]


def test_a_restart_that_logged_nothing_replaces_nothing(tmp_path, log_job):
    log_job(tmp_path, [("lm loss", 1, 1.0)])
    log_job(tmp_path, [])
    assert read_scalars(tmp_path, "lm loss") == [(1, 1.0)]


def test_rewound_iterations_take_their_validation_with_them(tmp_path, log_job):
    tag = "lm loss validation-v1-web"
    log_job(tmp_path, [("lm loss", 5, 1.0), (tag, 5, 1.0), ("lm loss", 10, 1.0), (tag, 10, 1.0)])
    log_job(tmp_path, [("lm loss", 6, 2.0), ("lm loss vs samples", 24, 2.0)])
    assert read_scalars(tmp_path, tag) == [(5, 1.0)]


def test_iterations_and_samples_are_two_axes(tmp_path, log_job):
    log_job(tmp_path, [(tag, step, 1.0) for i in (1, 2, 3) for tag, step in (("a", i), ("a vs samples", 64 * i))])
    log_job(tmp_path, [("a", 3, 2.0), ("a vs samples", 192, 2.0)])
    assert read_scalars(tmp_path, "a") == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert read_scalars(tmp_path, "a vs samples") == [(64, 1.0), (128, 1.0), (192, 2.0)]


def test_a_job_that_only_validates_keeps_the_last_training_loss(tmp_path, log_job):
    tag = "lm loss validation-v1-web"
    log_job(tmp_path, [("lm loss", 9, 1.0), ("lm loss", 10, 1.0), (tag, 10, 3.0)])
    log_job(tmp_path, [(tag, 10, 4.0), (tag, 10, 9.0)])
    assert read_scalars(tmp_path, "lm loss") == [(9, 1.0), (10, 1.0)]
    assert read_scalars(tmp_path, tag) == [(10, 4.0)]


def test_files_count_in_the_order_they_were_begun(tmp_path, log_job):
    old = log_job(tmp_path, [("lm loss", 1, 1.0)])
    new = log_job(tmp_path, [("lm loss", 1, 2.0)])
    old.rename(tmp_path / "events.out.tfevents.1.z")
    new.rename(tmp_path / "events.out.tfevents.1.a")  # the same second, and a name before the other's
    assert read_scalars(tmp_path, "lm loss") == [(1, 2.0)]


@pytest.mark.parametrize("lost", [1, 4, 5, 20, 50])
def test_a_torn_last_record_is_left_out_without_noise(tmp_path, log_job, capfd, lost):
    file = log_job(tmp_path, [("lm loss", i, float(i)) for i in range(1, 6)])
    file.write_bytes(file.read_bytes()[:-lost])
    whole = 4 if lost < 40 else 3  # a record takes about 40 bytes
    assert read_scalars(tmp_path, "lm loss") == [(i, float(i)) for i in range(1, whole + 1)]
    assert capfd.readouterr() == ("", "")


def test_every_length_of_a_torn_file_can_be_read(tmp_path, log_job):
    file = log_job(tmp_path, [("lm loss", i, float(i)) for i in range(1, 4)])
    data = file.read_bytes()
    lengths = []
    for length in range(len(data) + 1):
        file.write_bytes(data[:length])
        lengths.append(len(read_scalars(tmp_path, "lm loss")))
    assert lengths == sorted(lengths)
    assert lengths[-1] == 3


def test_zeros_after_a_crash_end_the_file(tmp_path, log_job):
    file = log_job(tmp_path, [("lm loss", 1, 1.0)])
    file.write_bytes(file.read_bytes() + bytes(4096))
    assert read_scalars(tmp_path, "lm loss") == [(1, 1.0)]


def test_a_damaged_value_is_left_out(tmp_path, log_job):
    file = log_job(tmp_path, [("lm loss", 1, 1.0), ("lm loss", 2, 2.0), ("lm loss", 3, 3.0)])
    data = file.read_bytes()
    place = data.index(struct.pack("<f", 2.0))
    file.write_bytes(data[:place] + struct.pack("<f", 7.0) + data[place + 4 :])
    assert read_scalars(tmp_path, "lm loss") == [(1, 1.0), (3, 3.0)]


@pytest.mark.parametrize("data", [b"", b"123456789", bytes(range(256))])
def test_checksum_is_tensorboards(data):
    assert checksum(data) == masked_crc32c(data)


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    (tmp_path / "events.out.tfevents.1.host").mkdir()
    with pytest.raises(RefusedError, match=r"events\.out\.tfevents\.1\.host cannot be read"):
        read_run(tmp_path)


def test_nothing_heavy_is_imported():
    heavy = (
        "import sys, megatron_lrps.monitor.version_costs; "
        "print(*{'torch', 'megatron', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == ""
