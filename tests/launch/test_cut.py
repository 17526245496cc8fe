"""`lrps cut` off a main path that trains: it saves where it is, goes on, and the new branch is trained."""

from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.plan import expand, load_plan
from tests.conftest import Lrps
from tests.launch.local.test_stopped_run import start, wait_for_iteration
from tests.training.campaigns import losses, write_campaign

pytestmark = pytest.mark.training


def test_a_version_is_cut_off_a_running_main_path(tmp_path: Path, lrps: Lrps) -> None:
    plan = write_campaign(tmp_path, extra=", tensor-model-parallel-size: 2", processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    plan.write_text("\n".join(lines).replace("iters: 8", "iters: 800") + "\n# the end\n")
    main = CampaignFolder(tmp_path / "run").path("main").checkpoints
    executor = start(plan)
    try:
        wait_for_iteration(plan, "main", 5)
        code, stdout, stderr = lrps("cut", "hotfix", plan, "--iters", "6", "--shape", "linear", timeout=300)
        assert code == 0, stderr
        assert "asking its job to save at its next iteration" in stdout
        assert executor.poll() is None  # it trains on
        wait_for_iteration(plan, "main", Checkpoints.in_folder(main).complete[0] + 5)
    finally:
        executor.terminate()
        output, _ = executor.communicate(timeout=300)
    assert executor.returncode == 75, output[-2000:]

    hotfix = expand(load_plan(plan)).path("hotfix")
    assert hotfix.fork in Checkpoints.in_folder(main).complete
    assert (hotfix.end - hotfix.fork, hotfix.parent) == (6, "main")
    assert plan.read_text().splitlines()[-3:] == [
        "# the end",
        "cuts:",
        f"  - {{name: hotfix, fork: {hotfix.fork}, iters: 6, decay: {{shape: linear}}}}",
    ]
    code, _, stderr = lrps("run", plan, "--path", "hotfix", env={"CUDA_VISIBLE_DEVICES": ""})
    assert code == 0, stderr
    first = hotfix.fork + 1
    assert losses(plan, "hotfix")[first] == losses(plan, "main")[first]  # same state, same sample
    assert sorted(losses(plan, "hotfix")) == list(range(first, hotfix.end + 1))
    assert not (tmp_path / "run" / "paths" / "main" / "cut.json").exists()
    assert yaml.safe_load((tmp_path / "run" / "plan.yaml").read_text())["cuts"][0]["name"] == "hotfix"
