"""`lrps save` and `lrps stop` on a path that `lrps run` trains with real Megatron."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.path_request import ask
from tests.conftest import Lrps
from tests.launch.local.test_stopped_run import start, wait_for_iteration
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.training


def test_a_running_path_saves_and_stops_on_request(tmp_path: Path, lrps: Lrps) -> None:
    plan = write_campaign(tmp_path, extra=", tensor-model-parallel-size: 2", processes=2)
    plan.write_text(plan.read_text().replace("iters: 8", "iters: 8000").replace("interval: 100,", "interval: 100000,"))
    main = CampaignFolder(tmp_path / "run").path("main")
    code, _, stderr = lrps("save", plan)
    assert (code, stderr) == (
        78,
        "lrps: No path of tiny is being trained. Fix: see lrps status; a job that waits in Slurm is cancelled by lrps "
        "cancel.\n",
    )
    main.root.mkdir(parents=True)
    ask(main, "stop", holder="an earlier job")  # which it was not answered by
    executor = start(plan)
    try:
        wait_for_iteration(plan, "main", 5)
        code, stdout, stderr = lrps("save", plan)
        assert code == 0, stderr
        (saved,) = Checkpoints.in_folder(main.checkpoints).complete
        assert stdout.splitlines()[-1] == f"main: saved at iteration {saved}"
        wait_for_iteration(plan, "main", saved + 5)  # it trains on
        code, stdout, stderr = lrps("stop", plan, "main")
        assert code == 0, stderr
        output, _ = executor.communicate(timeout=300)
    finally:
        executor.kill()
    assert executor.returncode == 75, output[-2000:]
    stopped = Checkpoints.in_folder(main.checkpoints).complete[-1]
    assert stdout.splitlines()[-1] == f"main: saved at iteration {stopped}, and stops"
    assert f"path main stopped at iteration {stopped} (request); nothing is lost." in output
    assert f"stopped at {stopped} of " in (said := lrps("status", plan).stdout)
    assert "(lrps stop)" in said
    assert not (main.root / "save.json").exists()
