"""`lrps status` of a campaign on disk."""

import fcntl
import json
import os
import socket
import time

import pytest

from megatron_lrps.campaign.activity import Teller
from megatron_lrps.campaign.record import log_event
from megatron_lrps.campaign.releases import note
from megatron_lrps.storage.ownership import acquire
from tests.conftest import Lrps, heavy_modules
from tests.launch.campaign import TinyCampaign


def test_status_tells_states_checkpoints_and_last_events(begun: TinyCampaign, lrps: Lrps) -> None:
    code, stdout, stderr = lrps("status", begun.plan)
    assert (code, stderr) == (0, "")
    rows = [line.split() for line in stdout.splitlines()[2:5]]
    assert rows[0][:8] == ["main", "interrupted", "at", "10", "of", "14", "10", "14"]
    assert rows[1][:5] == ["v1", "trained", "10", "10", "done"]
    assert rows[2] == ["v2", "waiting", "for", "main", "at", "14", "-", "20", "-"]
    assert "main: checkpoint 12 is not whole; it is never used" in stdout
    assert stdout.endswith("10 iterations left of 26\n")  # 4 of main, none of v1, 6 of v2


def test_status_json_has_its_keys(begun: TinyCampaign, lrps: Lrps) -> None:
    status = json.loads(lrps("status", begun.plan, "--json").stdout)
    assert list(status) == ["campaign", "save", "iterations_left", "paths"]
    main, v1, v2 = status["paths"]
    time_of_event = main["last_event"].pop("time")
    assert time_of_event.endswith("+00:00")
    assert main == {
        "name": "main",
        "kind": "main",
        "version": None,
        "parent": None,
        "fork": 0,
        "adopted": None,
        "end": 14,
        "state": "interrupted",
        "why": "its last run ended without a word",
        "doing": None,
        "saved": 10,
        "iterations_left": 4,
        "torn": [12],
        "last_event": {"event": "started"},
        "alerts": [],
        "holder": None,
        "stall": None,
    }
    assert (v1["state"], v1["iterations_left"], v2["state"], v2["saved"]) == ("trained", 0, "waiting", None)


def test_status_tells_the_last_alert_and_how_many_came_before(begun: TinyCampaign, lrps: Lrps) -> None:
    for iteration, loss in ((7, 9.5), (9, 8.5)):
        message = f"loss_spike: the loss is {loss}"
        values = {"loss": loss, "median": 2.0, "sigma": 0.1}
        log_event(begun.folder("v2"), "alert", iteration=iteration, kind="loss_spike", message=message, values=values)
    log_event(begun.folder("main"), "alert", iteration="torn", message=["no", "text"])
    stdout = lrps("status", begun.plan).stdout
    assert "\nv2: alert at iteration 9: loss_spike: the loss is 8.5 (" in stdout
    assert stdout.count("+00:00); 1 more before it\n") == 1
    assert "\nmain: alert at iteration ?: without a word (" in stdout
    main, _, v2 = json.loads(lrps("status", begun.plan, "--json").stdout)["paths"]
    first = v2["alerts"][0]
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "iteration": 7,
        "kind": "loss_spike",
        "message": "loss_spike: the loss is 9.5",
        "values": {"loss": 9.5, "median": 2.0, "sigma": 0.1},
    }
    assert (main["state"], v2["state"]) == ("interrupted", "waiting")  # an alert is no start


def test_status_tells_who_trains_a_path(begun: TinyCampaign, lrps: Lrps) -> None:
    with acquire(begun.folder("main").root, say=print):
        stdout = lrps("status", begun.plan).stdout
        main, v1, _ = json.loads(lrps("status", begun.plan, "--json").stdout)["paths"]
    since = main["holder"].pop("since")
    job, restart = os.environ.get("SLURM_JOB_ID"), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    assert main["holder"] == {"host": socket.gethostname(), "pid": os.getpid(), "job": job, "restart": restart}
    assert v1["holder"] is None
    assert (main["state"], v1["state"]) == ("in_progress", "trained")
    assert stdout.splitlines()[2].split()[:3] == ["main", "in", "progress"]
    assert f"\nmain: being trained by process {os.getpid()} on {socket.gethostname()} (" in stdout
    assert f"since {since})\n" in stdout
    (begun.folder("main").root / "owner.json").write_text("{torn")
    assert "\nmain: being trained by an unknown process" in lrps("status", begun.plan).stdout
    main = json.loads(lrps("status", begun.plan, "--json").stdout)["paths"][0]
    assert set(main["holder"].values()) == {None}


def test_a_branch_is_ready_once_its_fork_point_is_complete(campaign: TinyCampaign, lrps: Lrps) -> None:
    campaign.save("main", 4)
    campaign.save("main", 14, torn=True)
    states = {
        path["name"]: path["state"] for path in json.loads(lrps("status", campaign.plan, "--json").stdout)["paths"]
    }
    assert states == {"main": "stopped", "v1": "ready", "v2": "waiting"}  # nobody trains it, and no event says why


# Events after `started`, and what main is then: it has saved 10 of 14.
@pytest.mark.parametrize(
    ("events", "state", "words"),
    [
        ((), "interrupted", "interrupted at 10 of 14"),
        ((("stopped", {"reason": "signal"}),), "stopped", "stopped at 10 of 14 (Ctrl-C or a signal)"),
        ((("stopped", {"reason": "duration"}),), "stopped", "stopped at 10 of 14 (its time limit)"),
        ((("stopped", {"reason": "\x1b[2Jodd"}),), "stopped", "stopped at 10 of 14"),
        ((("refused", {}),), "failed", "refused at 10 of 14"),
        ((("storage", {}), ("alert", {}), ("exported", {})), "failed", "storage failed at 10 of 14"),
        ((("done", {}),), "stopped", "stopped at 10 of 14 (it was trained to its end, and the plan has grown since)"),
        ((("stopped", {"reason": "signal"}), ("started", {})), "interrupted", "interrupted at 10 of 14"),
    ],
)
def test_what_nobody_trains_is_not_in_progress(
    campaign: TinyCampaign, lrps: Lrps, events: tuple[tuple[str, dict[str, str]], ...], state: str, words: str
) -> None:
    campaign.save("main", 10)
    for event, fields in (("started", {}), *events):
        log_event(campaign.folder("main"), event, **fields)
    assert json.loads(lrps("status", campaign.plan, "--json").stdout)["paths"][0]["state"] == state
    assert f"main  {words}  " in lrps("status", campaign.plan).stdout
    assert f"main  (0, 14]  {words}, 71%" in lrps("tree", campaign.plan).stdout


def test_a_fork_point_that_was_passed_is_not_waited_for(campaign: TinyCampaign, lrps: Lrps) -> None:
    campaign.save("main", 10)  # v1 forks at 4
    assert "\nv1    main is past 4 and has no checkpoint there  " in lrps("status", campaign.plan).stdout
    v1, v2 = json.loads(lrps("status", campaign.plan, "--json").stdout)["paths"][1:]
    assert (v1["state"], v1["why"]) == ("waiting", "main is past 4 and has no checkpoint there")
    assert (v2["state"], v2["why"]) == ("waiting", None)


def test_what_ended_before_its_first_save_has_begun(campaign: TinyCampaign, lrps: Lrps) -> None:
    campaign.save("main", 4)
    log_event(campaign.folder("v1"), "started", iteration=4, forked=True)
    log_event(campaign.folder("main"), "refused", message="no")  # and was never started
    stdout = lrps("status", campaign.plan).stdout
    assert "\nv1    interrupted before its first save" in stdout


def test_a_release_despite_its_gate_is_told(begun: TinyCampaign, lrps: Lrps) -> None:
    note(begun.folder("v1"), "released", "v1", iteration=10, unmet={"ppl/a <= 1": "ppl/a <= 1: 2 <= 1 does not hold"})
    assert "\nv1    released, although it did not meet its gate  " in lrps("status", begun.plan).stdout
    assert json.loads(lrps("status", begun.plan, "--json").stdout)["paths"][1]["state"] == "released"


def test_status_tells_what_the_holder_does(begun: TinyCampaign, lrps: Lrps) -> None:
    with acquire(begun.folder("main").root, say=print) as held:
        Teller(begun.folder("main"), held.token).tell("evaluating", name="v1-web", done=12, total=40)
        assert "\nmain  evaluating v1-web (12 of 40)  " in lrps("status", begun.plan).stdout
        main = json.loads(lrps("status", begun.plan, "--json").stdout)["paths"][0]
        for clock in ("since", "at"):
            assert abs(main["doing"].pop(clock) - time.time()) < 60
        assert (main["doing"].pop("iteration"), main["doing"].pop("median")) == (None, None)  # none is trained yet
        assert main["doing"] == {"what": "evaluating", "name": "v1-web", "done": 12, "total": 40}
    with acquire(begun.folder("main").root, say=print):  # another job, which has said nothing yet
        assert "\nmain  in progress  " in lrps("status", begun.plan).stdout
    assert "\nmain  interrupted at 10 of 14  " in lrps("status", begun.plan).stdout


def test_ranks_that_start_are_seen_before_they_hold_their_path(campaign: TinyCampaign, lrps: Lrps) -> None:
    logs = campaign.folder("main").logs
    logs.mkdir(parents=True)
    with (logs / ".executor").open("w") as lock:
        assert "\nmain  ready  " in lrps("status", campaign.plan).stdout
        fcntl.flock(lock, fcntl.LOCK_EX)  # as `lrps run` does
        assert "\nmain  starting  " in lrps("status", campaign.plan).stdout
        log_event(campaign.folder("main"), "started", iteration=0)
        log_event(campaign.folder("main"), "stopped", iteration=3, reason="signal")
        # The ranks have ended, and the executor is about to.
        assert "\nmain  stopped before its first save (Ctrl-C or a signal)  " in lrps("status", campaign.plan).stdout


@pytest.mark.parametrize("command", ["status", "tree"])
def test_looking_loads_nothing_heavy(begun: TinyCampaign, command: str) -> None:
    assert heavy_modules(command, begun.plan) == []
