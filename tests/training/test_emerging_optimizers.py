"""Muon and Lion, of the package emerging-optimizers: a branch begins with main's state, and resumes digit for digit."""

import shutil
from pathlib import Path

import pytest

from tests.training.campaigns import losses, train_path, write_campaign

pytest.importorskip("emerging_optimizers", reason="emerging-optimizers is not installed")
pytestmark = pytest.mark.training

MUON = ", muon-scale-mode: spectral"


@pytest.mark.parametrize(
    ("optimizer", "more", "ranks"),
    [
        ("muon", MUON, 1),
        ("dist_muon", MUON, 2),
        pytest.param("muon", f"{MUON}, tensor-model-parallel-size: 2", 2, marks=pytest.mark.soak),
        pytest.param("lion", "", 1, marks=pytest.mark.soak),
    ],
    ids=["Muon", "distributed Muon", "Muon TP2", "Lion"],
)
def test_a_branch_takes_over_and_resumes(optimizer: str, more: str, ranks: int, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    plan = write_campaign(stopped, extra=f", optimizer: {optimizer}{more}", processes=ranks)

    def trained(plan: Path, path: str, *flags: str, code: int = 0) -> dict[int, float]:
        ended = train_path(plan, path, *flags, ranks=ranks)
        assert set(ended.codes) == {code}, ended.log[-3000:]
        return losses(plan, path)

    main = trained(plan, "main", "--lrps-until", "6")
    shutil.copytree(stopped, tmp_path / "whole")
    trained(plan, "v1", "--exit-interval", "6", code=75)
    resumed = trained(plan, "v1")
    assert sorted(resumed) == [5, 6, 7, 8]
    assert resumed[5] == main[5]
    assert trained(tmp_path / "whole" / "plan.yaml", "v1") == resumed
