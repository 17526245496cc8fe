"""What a start reads of a path's data: that which the path still reads, and no other."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.data.fingerprint import fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.training import identity as module
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.identity import identity_of
from tests.plan.plans import plan_dict, versions
from tests.training.harness import write_tokens

WINDOWS = 17


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Seventeen windows' indexes, d1 to d17; the names of those that have been hashed."""
    names: list[str] = []
    for number in range(1, WINDOWS + 1):
        write_tokens(tmp_path / f"d{number}", [[number] * 10])
    monkeypatch.setattr(module, "fingerprint", lambda prefix: (names.append(prefix.name), fingerprint(prefix))[1])
    return names


def planned(folder: Path, path: str, *, paradigm: str = "lrps", last: dict[str, Any] | None = None) -> Planned:
    listed = versions(*[100] * WINDOWS)
    for number, version in enumerate(listed, 1):
        version["train"] = [[1.0, f"d{number}"]]
    listed[-1].update(last or {})
    tree = expand(parse_plan(yaml.safe_dump(plan_dict(versions=listed, paradigm=paradigm)), base=folder))
    return Planned(campaign=Campaign(tree), path=tree.path(path))


def test_earlier_windows_cost_nothing(tmp_path: Path, hashed: list[str]) -> None:
    whole = identity_of(planned(tmp_path, "v17"), 0, {})
    assert hashed == [f"d{number}" for number in range(1, 18)]
    assert whole.windows[3]["data"][0][2] == {**fingerprint(tmp_path / "d4").to_json(), "tokens": 10}
    hashed.clear()
    for number in range(1, 17):
        for suffix in ("bin", "idx"):
            (tmp_path / f"d{number}.{suffix}").unlink()
    assert identity_of(planned(tmp_path, "v17"), 1640, whole.to_json()) == whole
    assert hashed == ["d17"]


def test_what_is_replayed_is_read_and_so_hashed(tmp_path: Path, hashed: list[str]) -> None:
    replay = {"replay": {"share": 0.1, "weights": {"v3": 1, "v9": 1}}}
    whole = identity_of(planned(tmp_path, "v17", last=replay), 0, {})
    hashed.clear()
    assert identity_of(planned(tmp_path, "v17", last=replay), 1640, whole.to_json()) == whole
    assert hashed == ["d3", "d9", "d17"]


def test_a_mixed_order_reads_all_windows_to_its_end(tmp_path: Path, hashed: list[str]) -> None:
    path = planned(tmp_path, "ptfs-v17", paradigm="ptfs")
    whole = identity_of(path, 0, {})
    hashed.clear()
    assert identity_of(path, 1640, whole.to_json()) == whole
    assert len(hashed) == 17


def test_a_passed_window_that_is_not_recorded_is_read(tmp_path: Path, hashed: list[str]) -> None:
    whole = identity_of(planned(tmp_path, "v17"), 0, {})
    recorded = whole.to_json()
    recorded["windows"] = [{**window, "data": [[1.0, "/elsewhere", {}]]} for window in recorded["windows"]]
    hashed.clear()
    assert identity_of(planned(tmp_path, "v17"), 1640, recorded) == whole
    assert len(hashed) == 17
    (tmp_path / "d1.idx").unlink()
    with pytest.raises(RefusedError, match=r"d1\.idx cannot be read"):
        identity_of(planned(tmp_path, "v17"), 1640, {})
