"""`lrps save` and `lrps stop` on a path that `lrps run` trains with real Megatron."""

import os
import signal
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.path_request import ask
from megatron_lrps.launch.local.ranks import writers
from tests.conftest import Lrps
from tests.launch.local.test_stopped_run import start, wait_for_iteration
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.training


def long_campaign(folder: Path, local: str = "") -> tuple[Path, PathFolder]:
    """A plan that saves only when it is asked, with more keys of ``launch.local``; and the folder of its main path."""
    plan = write_campaign(folder, extra=", tensor-model-parallel-size: 2", processes=2)
    text = plan.read_text().replace("iters: 8", "iters: 8000").replace("save-interval: 100,", "save-interval: 100000,")
    plan.write_text(text.replace("local: {", f"local: {{{local}"))
    return plan, CampaignFolder(folder / "run").path("main")


def test_a_running_path_saves_and_stops_on_request(tmp_path: Path, lrps: Lrps) -> None:
    plan, main = long_campaign(tmp_path)
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


def test_ranks_that_cannot_follow_a_request_to_stop_are_killed_and_both_sides_say_what_is_lost(
    tmp_path: Path, lrps: Lrps
) -> None:
    plan, main = long_campaign(tmp_path, "stop_timeout: 4, ")
    executor = start(plan)
    try:
        wait_for_iteration(plan, "main", 5)
        code, stdout, stderr = lrps("save", plan)
        assert code == 0, stderr
        (saved,) = Checkpoints.in_folder(main.checkpoints).complete
        wait_for_iteration(plan, "main", saved + 3)
        (victim,) = [
            pid
            for pid in writers(main.logs.glob("*.log"))
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes() and os.getsid(pid) == pid
        ]
        os.kill(victim, signal.SIGSTOP)  # rank 0 then waits in a collective, and no rank learns of the request
        code, stdout, stderr = lrps("stop", plan)
        output, _ = executor.communicate(timeout=120)
    finally:
        executor.kill()
    assert (code, executor.returncode) == (75, 75), stdout + stderr + output[-2000:]
    assert (
        "main: its ranks have made no progress for 4 s since they were asked to save and stop; they are kill" in output
    )
    lost = f"iterations after its checkpoint at {saved} are lost"
    assert "path main was asked to save and stop, made no progress for 4 s, and was killed at iteration " in output
    assert lost in output
    assert "main's ranks made no progress for 4 s after the request and were killed at iteration " in stderr
    assert f"{lost}. Fix: lrps run or lrps submit continues from iteration {saved}." in stderr
    assert f"stopped at {saved:,} of " in (said := lrps("status", plan).stdout)
    assert "(lrps stop)" in said
    assert not (main.root / "stop.json").exists()
