"""`lrps tensorboard`: of a campaign that has not begun, and of one that real Megatron trained."""

import subprocess
import sys

import pytest

from megatron_lrps.monitor.scalars import read_points, read_run
from tests.training.campaigns import write_campaign


def test_a_campaign_that_has_not_begun(lrps, tmp_path):
    code, out, err = lrps("tensorboard", write_campaign(tmp_path))
    assert code == 0, err
    folder = tmp_path / "run" / "tensorboard"
    assert out.splitlines() == ["Nothing has begun.", "Nothing has changed", f"tensorboard --logdir {folder}"]
    assert not (tmp_path / "run").exists()


def test_a_plan_that_is_none_is_refused(lrps, tmp_path):
    code, _, err = lrps("tensorboard", tmp_path / "absent.yaml")
    assert code == 78
    assert "absent.yaml" in err


def test_nothing_heavy_is_imported():
    heavy = (
        "import sys, megatron_lrps.monitor.tensorboard; print(*{'torch', 'megatron', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.training
def test_what_the_logs_say_of_a_trained_campaign_is_what_megatron_logged(lrps, tmp_path):
    plan = write_campaign(tmp_path)
    code, _, err = lrps("run", plan)
    assert code == 0, err
    folder = tmp_path / "run" / "tensorboard"
    code, out, err = lrps("tensorboard", plan)
    assert code == 0, err
    assert out.splitlines() == ["Written: main, v1, v2, the campaign", f"tensorboard --logdir {folder}"]
    logged = read_run(folder / "main")
    for file in (folder / "main").glob("events*"):
        file.unlink()
    code, out, err = lrps("tensorboard", plan)
    assert code == 0, err
    assert "main: the loss of iteration 2 is lost: its log has a mean with the iterations before." in out
    (file,) = (folder / "main" / "backfilled").glob("events*")
    read = file.rename(file.with_suffix(".0")).parent  # derived files are no record, so readers leave them out
    filled = read_points(read)
    for tag, series in logged.items():
        name, _, axis = tag.partition(" vs ")
        if axis and name in ("loss-scale", "batch-size", "lm loss validation-v1-a ppl"):
            continue  # over iterations alone
        second = {"": 2, "samples": 8}[axis] if name == "lm loss" else None  # of four samples an iteration
        expected = {step: value for step, value in series if step != second}
        assert {step: value for step, value, _ in filled[tag]} == pytest.approx(expected, rel=1e-3), tag
