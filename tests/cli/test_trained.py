"""What is made of a tiny campaign that `lrps run` trained with real Megatron: the page, and what TensorBoard reads."""

import re
import shutil
from pathlib import Path

import pytest

from megatron_lrps.monitor.scalars import read_points, read_run
from tests.conftest import Lrps
from tests.training.campaigns import write_campaign

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run_lrps: Lrps) -> Path:
    """The campaign's folder, as the run has left it."""
    folder = tmp_path_factory.mktemp("campaign")
    code, _, err = run_lrps("run", write_campaign(folder), cwd=folder)
    assert code == 0, err
    return folder


@pytest.fixture
def plan(trained: Path, tmp_path: Path) -> Path:
    """The plan of a copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "campaign")) / "plan.yaml"


def test_report_of_a_trained_campaign(lrps, plan):
    code, out, err = lrps("report", plan)
    assert code == 0, err
    folder = plan.parent / "run" / "report"
    assert out.splitlines() == ["Trained, but not evaluated: v1, v2.", str(folder / "report.html")]
    assert sorted(each.name for each in folder.iterdir()) == [
        *("losses.png", "losses.svg", "lr-paths.png", "lr-paths.svg", "report.html", "tree.png", "tree.svg")
    ]
    page = (folder / "report.html").read_text()
    assert "18 of 18 iterations are trained" in page  # main 11, v1 4, v2 3
    assert "saved 2 checkpoints, at 4 to 11" in page
    assert '<td class="text">yes</td><td class="text">v2</td>' in page  # read by path.json, not by plan
    assert "validation loss on v1-a" in page
    pace = page[page.index('id="pace"') : page.index('id="versions"')]
    assert "rank-hours" in pace  # the campaign is trained on a CPU
    (everything,) = re.findall(r">all</th>.*?</tr>", pace)
    assert re.search(r"<td>\d\.0*[1-9]\d*</td></tr>$", everything)  # its logs say how many ranks there were, and when


def test_what_the_logs_say_of_a_trained_campaign_is_what_megatron_logged(lrps, plan):
    folder = plan.parent / "run" / "tensorboard"
    code, out, err = lrps("tensorboard", plan)
    assert code == 0, err
    assert out.splitlines() == ["Written: main, v1, v2, the campaign", f"tensorboard --logdir {folder}"]
    logged = read_run(folder / "main")
    for file in (folder / "main").glob("events*"):
        file.unlink()
    code, out, err = lrps("tensorboard", plan)
    assert code == 0, err
    assert "main: the loss of iteration 2 is lost: its log has a mean with the iterations before." in out
    (file,) = (folder / "main" / "backfilled").glob("events*")
    read = file.rename(file.with_suffix(".0")).parent  # derived files are no record, so readers leave them out
    filled = read_points(read)
    for tag, series in logged.items():
        name, _, axis = tag.partition(" vs ")
        if axis and name in ("loss-scale", "batch-size", "lm loss validation-v1-a ppl"):
            continue  # over iterations alone
        second = {"": 2, "samples": 8}[axis] if name == "lm loss" else None  # of four samples an iteration
        expected = {step: value for step, value in series if step != second}
        assert {step: value for step, value, _ in filled[tag]} == pytest.approx(expected, rel=1e-3), tag
