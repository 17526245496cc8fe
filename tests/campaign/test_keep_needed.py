"""Whatever the campaign: nothing that is needed ever goes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.pins import add_pin
from megatron_lrps.campaign.record import write_record
from megatron_lrps.plan import Tree, plan_text
from megatron_lrps.storage.files import write_atomic
from tests.campaign.campaigns import Campaign


@st.composite
def campaigns(draw: st.DrawFn) -> dict[str, Any]:
    """Paths as `paths:` lists them, what each has saved, and what is pinned and released."""
    end = 100 * draw(st.integers(3, 12))
    paths = [{"name": "main", "end": end, "schedule": [{"kind": "hold"}]}]
    for number in range(1, draw(st.integers(1, 4)) + 1):
        parent = draw(st.sampled_from(paths))
        forks = range(parent.get("fork", 0) + 100, parent["end"] + 1, 100)
        fork = draw(st.sampled_from(forks))
        end = fork + 100 * draw(st.integers(1, 5))
        hold = [{"kind": "hold"}]
        paths.append({"name": f"p{number}", "parent": parent["name"], "fork": fork, "end": end, "schedule": hold})
    drawn: dict[str, Any] = {"paths": paths, "keep": {"latest": draw(st.integers(1, 3))}}
    if draw(st.booleans()):
        drawn["keep"]["released_forks"] = False
    if draw(st.booleans()):
        drawn["keep"]["every"] = draw(st.sampled_from([200, 300, 700]))
    drawn["saved"], drawn["torn"], drawn["pins"] = {}, {}, {}
    for path in paths:
        own = list(range(path.get("fork", 0) + 100, path["end"] + 1, 100))
        states = draw(st.lists(st.sampled_from(["whole", "whole", "torn", "pinned", ""]), min_size=len(own)))
        by_state = {state: [i for i, s in zip(own, states, strict=False) if s == state] for state in set(states)}
        drawn["saved"][path["name"]] = sorted(by_state.get("whole", []) + by_state.get("pinned", []))
        drawn["torn"][path["name"]] = by_state.get("torn", [])
        drawn["pins"][path["name"]] = by_state.get("pinned", [])
    drawn["released"] = draw(st.sets(st.sampled_from([path["name"] for path in paths])))
    # What the plan names of it now; the rest is named by the accepted plan, or by its own record alone.
    drawn["given"] = draw(st.integers(1, len(paths)))
    drawn["accepted"] = draw(st.integers(0, len(paths)))
    return drawn


def needed_in(drawn: Mapping[str, Any]) -> set[tuple[str, int]]:
    """The checkpoints that may not go, by the rules and nothing else."""
    needed = set()
    for path in drawn["paths"]:
        name, saved = path["name"], drawn["saved"][path["name"]]
        needed |= {(name, path["end"])} | {(name, pin) for pin in drawn["pins"][name]}
        needed |= {(name, iteration) for iteration in saved[-1:]}
        given_up = drawn["keep"].get("released_forks") is False and name in drawn["released"] and path["end"] in saved
        if "parent" in path and not given_up:
            needed.add((path["parent"], path["fork"]))
    return needed


@settings(deadline=None, max_examples=60)
@given(campaigns())
def test_nothing_that_is_needed_ever_goes(drawn: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as root:
        paths, keep = drawn["paths"], drawn["keep"]
        campaign = Campaign(Path(root), paths=paths[: drawn["given"]], keep=keep)
        if drawn["accepted"]:
            accepted: Tree = Campaign(Path(root), paths=paths[: drawn["accepted"]]).tree
            write_atomic(campaign.folder.plan, plan_text(accepted.plan))
        for path in paths:
            name = path["name"]
            campaign.save(name, *drawn["saved"][name])
            campaign.save(name, *drawn["torn"][name], whole=False)
            record = {"parent": path.get("parent"), "fork": path.get("fork", 0), "end": path["end"]}
            write_record(campaign[name], record | ({"released": "today"} if name in drawn["released"] else {}))
            for pin in drawn["pins"][name]:
                add_pin(campaign[name], pin, "")
        campaign.collect()
        needed = needed_in(drawn)
        for path in paths:
            name, before = path["name"], drawn["saved"][path["name"]]
            saved = Checkpoints.in_folder(campaign[name].checkpoints)
            left, torn = saved.complete, saved.torn
            assert set(left) <= set(before)
            assert {i for i in before if (name, i) in needed} <= set(left)
            assert set(before[-keep["latest"] :]) <= set(left)
            assert {i for i in drawn["torn"][name] if i > max(before, default=0) or (name, i) in needed} <= set(torn)
            if name in [each["name"] for each in paths[: max(drawn["given"], drawn["accepted"])]]:
                chosen = set(before[-keep["latest"] :]) | {i for i in before if i % keep.get("every", 10**9) == 0}
                assert set(left) <= chosen | {i for at, i in needed if at == name} | {p["fork"] for p in removed(drawn)}
        assert campaign.doomed() == []


def removed(drawn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Paths that only their own record knows, whose fork points stay even when they are released."""
    return drawn["paths"][max(drawn["given"], drawn["accepted"]) :]
