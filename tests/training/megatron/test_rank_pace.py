"""Two real ranks over gloo, of which one computes longer: each measures its own part, and it costs next to nothing."""

import json
import time
from pathlib import Path

import pytest

from megatron_lrps.training.megatron.rank_pace import RankPace
from tests.training.ranks import started_ranks

pytestmark = pytest.mark.training

PROGRAM = """
import os, sys, time
from pathlib import Path
import torch
from megatron.core import parallel_state
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.training.megatron.rank_pace import RankPace
torch.distributed.init_process_group("gloo")
parallel_state.initialize_model_parallel(pipeline_model_parallel_size=2)
rank, pace = torch.distributed.get_rank(), RankPace()
pace.measure(Alerts(window=8))
if rank == 0:
    pace.report(CampaignFolder(Path(sys.argv[1])).path("main"), "mine", every=0.05)
for _ in range(20):
    time.sleep(0.03 if rank else 0.01)
    torch.distributed.all_reduce(torch.ones(4))  # rank 0 waits here
    torch.distributed.all_reduce(torch.ones(4), async_op=True).wait()
    gathered = [torch.zeros(1, dtype=torch.int32) for _ in range(2)]
    torch.distributed.all_gather(gathered, torch.tensor([pace.lap() << 4 | 1], dtype=torch.int32))
    pace.take([int(each) for each in gathered], 4)
time.sleep(0.3)
torch.distributed.barrier()
"""


def test_a_ranks_own_part_is_what_it_does_not_wait(tmp_path: Path) -> None:
    folder = tmp_path / "paths" / "main"
    folder.mkdir(parents=True)
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    with started_ranks(PROGRAM, [str(tmp_path)], logs) as ranks:
        for rank in ranks:
            rank.join(100)
    assert [rank.exitcode for rank in ranks] == [0, 0], logs[0].read_text()[-2000:]
    pace = json.loads((folder / "pace.json").read_text())
    assert (pace["token"], pace["iterations"], pace["stages"]) == ("mine", 8, [0, 1])
    first, second = pace["own"]
    assert first >= 0.01
    assert second >= 0.03
    assert second - first > 0.01  # on a busy machine both need longer
    assert pace["seconds"] >= 0.03


def test_a_lap_costs_less_than_a_thousandth_of_the_shortest_iteration() -> None:
    pace = RankPace()
    pace._on = pace._reports = True
    times = []
    for _ in range(2000):
        begun = time.perf_counter()
        pace.take([pace.lap() << 4] * 8, 4)
        times.append(time.perf_counter() - begun)
    assert sorted(times)[1000] < 3e-5  # of 30 ms; 3 us on a quiet machine
