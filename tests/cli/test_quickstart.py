"""The quick start to its end: real text, four versions trained by real Megatron, table and pictures."""

import csv
from pathlib import Path

import pytest
from matplotlib.image import imread

from megatron_lrps.cli import quickstart
from megatron_lrps.monitor.scalars import read_scalars

pytestmark = pytest.mark.training


def test_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # The same command with less of everything: less than half of the text, four iterations a version, a tiny model, one
    # rank.
    monkeypatch.setattr(quickstart, "VOCABULARY", 1024)
    monkeypatch.setattr(quickstart, "WINDOW_CHARACTERS", 400_000)
    plan = quickstart.PLAN
    for old, new in (
        ("iters: 120", "iters: 4"),
        ("alpha: 0.6", "alpha: 0.5"),
        ("warmup_iters: 16", "warmup_iters: 1"),
        ("num-layers: 4", "num-layers: 1"),
        ("hidden-size: 128", "hidden-size: 32"),
        ("save-interval: 60", "save-interval: 2"),
        ("tensor-model-parallel-size: 2", "tensor-model-parallel-size: 1"),
        ("processes: 2", "processes: 1"),
    ):
        assert old in plan
        plan = plan.replace(old, new)
    monkeypatch.setattr(quickstart, "PLAN", plan)

    quickstart.run_quickstart(tmp_path)

    output = capsys.readouterr().out
    assert "Took " in output
    report = tmp_path / "campaign" / "report"
    rows = list(csv.DictReader((report / "versions.csv").open()))
    assert [row["version"] for row in rows] == ["v1", "v2", "v3", "v4"]
    assert [(row["fork"], row["end"]) for row in rows] == [("2", "4"), ("6", "8"), ("10", "12"), ("14", "16")]
    for name in ("lr-paths.png", "losses.png"):
        height, width = imread(report / name).shape[:2]
        assert height > 300
        assert width > 500
    assert "</html>" in (report / "report.html").read_text()
    assert "tensorboard --logdir" in output
    for path in ("main", "v1", "v2", "v3", "v4"):
        assert read_scalars(tmp_path / "campaign" / "tensorboard" / path, "lm loss")
    # The same command again has nothing to train, and shows the same.
    quickstart.run_quickstart(tmp_path)
    assert "is whole: nothing to do" in capsys.readouterr().out
