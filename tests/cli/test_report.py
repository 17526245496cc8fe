"""`lrps report`: the page of a tiny campaign that real Megatron trained, and of one that is not there yet."""

import re

import pytest

from tests.training.campaigns import write_campaign


def test_report_of_a_campaign_that_has_not_begun(lrps, tmp_path):
    plan = write_campaign(tmp_path)
    code, out, err = lrps("report", plan)
    assert code == 0, err
    file = tmp_path / "run" / "report" / "report.html"
    assert out.splitlines() == ["Nothing saved yet: main, v1, v2.", str(file)]
    assert file.read_text().startswith("<!doctype html>\n")
    assert (file.parent / "lr-paths.png").exists()


def test_another_folder(lrps, tmp_path):
    code, out, err = lrps("report", write_campaign(tmp_path), "--output", "there/deep")
    assert code == 0, err
    assert out.splitlines()[-1] == "there/deep/report.html"
    assert (tmp_path / "there" / "deep" / "report.html").exists()
    assert not (tmp_path / "run").exists()


def test_a_plan_that_is_none_is_refused(lrps, tmp_path):
    code, _, err = lrps("report", tmp_path / "absent.yaml")
    assert code == 78
    assert "absent.yaml" in err


@pytest.mark.training
def test_report_of_a_trained_campaign(lrps, tmp_path):
    plan = write_campaign(tmp_path)
    code, _, err = lrps("run", plan)
    assert code == 0, err
    code, out, err = lrps("report", plan)
    assert code == 0, err
    folder = tmp_path / "run" / "report"
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
    assert re.search(r"<td>\d\.\d\d</td></tr>$", everything)  # its logs say how many ranks there were, and when


def test_an_axis_that_is_none_is_refused(lrps, tmp_path):
    code, _, err = lrps("report", write_campaign(tmp_path), "--axis", "hours")
    assert code == 78
    assert "axis 'hours' is none. Mend: choose one of iterations, samples, tokens." in err
    assert not (tmp_path / "run").exists()
