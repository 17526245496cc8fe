"""A clock that is set between two starts of a job changes nothing: the path's record has their order."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.monitor.scalar_follower import Follower
from megatron_lrps.monitor.scalars import read_scalars
from megatron_lrps.monitor.start_order import StartOrder
from tests.monitor.conftest import LogJob

DAY = 86400.0
NOON = 1.8e9


def recorded(campaign: CampaignFolder, *times: float) -> None:
    """Write the path's record: a start at each time, and a save after it."""
    file = campaign.path("main").events
    file.parent.mkdir(parents=True)
    for time in times:
        said = {"time": datetime.fromtimestamp(int(time), UTC).isoformat()}
        with file.open("a") as lines:
            lines.write(json.dumps({**said, "event": "started", "iteration": 0}) + "\n")
            lines.write(json.dumps({**said, "event": "saved", "iteration": 5}) + "\n")


# (when it started by its clock, when its record says so, first and last iteration); their true order is this one.
AHEAD = [(NOON, NOON + 5, 1, 5), (NOON + 60 + DAY, NOON + 66 + DAY, 6, 37), (NOON + 90, NOON + 97, 38, 40)]
BEHIND = [(NOON, NOON + 5, 1, 20), (NOON + 60 - DAY, NOON + 66 - DAY, 16, 37), (NOON + 90, NOON + 97, 36, 40)]
SET_MEANWHILE = [(NOON, NOON + 5, 1, 5), (NOON + 60, NOON + 66 + DAY, 6, 37), (NOON + 90, NOON + 97, 38, 40)]


@pytest.mark.parametrize("starts", [AHEAD, BEHIND, SET_MEANWHILE])
def test_a_later_start_counts_as_later_whatever_its_clock_says(
    starts: list[tuple[float, float, int, int]], tmp_path: Path, log_job: LogJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = CampaignFolder(tmp_path)
    recorded(campaign, *(said for _, said, _, _ in starts))
    folder = campaign.tensorboard("main")
    follower = Follower(folder)
    for number, (time, _, first, last) in enumerate(starts):
        monkeypatch.setattr(event_file_writer.time, "time", lambda time=time: time)
        log_job(folder, [("lm loss", step, float(number)) for step in range(first, last + 1)])
        figures = follower.look()
        assert figures is not None
        assert (figures.iteration, figures.loss) == (last, number)
    found = dict(read_scalars(folder, "lm loss"))
    assert sorted(found) == list(range(1, 41))
    assert found == {
        step: float(number) for number, (_, _, first, last) in enumerate(starts) for step in range(first, last + 1)
    }


def test_without_a_record_the_clock_decides(tmp_path: Path) -> None:
    order = StartOrder(CampaignFolder(tmp_path).path("main"))
    assert order.place(NOON) < order.place(NOON + 1)
