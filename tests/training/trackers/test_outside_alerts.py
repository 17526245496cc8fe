"""Alerts that other processes write into a path's history reach its trackers, once, whoever is alive."""

import time
from pathlib import Path

from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import log_event
from megatron_lrps.training.trackers.outside_alerts import OutsideAlerts


def stall(folder: PathFolder, iteration: int) -> None:
    log_event(folder, "alert", iteration=iteration, kind="stall", message=f"stall: {iteration}")


def test_an_alert_is_passed_on_while_the_ranks_hang_and_otherwise_by_the_next_start(tmp_path: Path) -> None:
    folder = CampaignFolder(tmp_path).path("main")
    folder.root.mkdir(parents=True)
    told: list[tuple[str, int, str]] = []
    stall(folder, 1)  # before the campaign had trackers
    first = OutsideAlerts(folder, lambda *alert: told.append(alert))
    first.watch(every=0.02)
    log_event(folder, "alert", iteration=2, kind="loss_spike", message="a rank has raised it, and told it")
    stall(folder, 3)
    end = time.monotonic() + 10
    while not told and time.monotonic() < end:
        time.sleep(0.01)
    first.look()  # which waits until its thread has noted what it has told
    assert told == [("stall", 3, "stall: 3")]

    missed: list[int] = []
    again = OutsideAlerts(folder, lambda _, iteration, __: missed.append(iteration))
    again.look()
    assert missed == []
    with folder.events.open("a") as file:
        file.write('{"event": "alert", "kind": "stall", "ite')  # being written
    again.look()
    with folder.events.open("a") as file:
        file.write('ration": 5, "message": "m"}\nnot JSON\n[1]\n')
    stall(folder, 6)
    again.look()
    assert missed == [5, 6]
