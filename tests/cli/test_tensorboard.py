"""`lrps tensorboard`: of a campaign that has not begun, and what it refuses."""

import subprocess
import sys

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
