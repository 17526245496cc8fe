"""`lrps report`: the page of a campaign that is not there yet, and what it refuses."""

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


def test_an_axis_that_is_none_is_refused(lrps, tmp_path):
    code, _, err = lrps("report", write_campaign(tmp_path), "--axis", "hours")
    assert code == 78
    assert "There is no axis 'hours'. Fix: choose one of iterations, samples, tokens." in err
    assert not (tmp_path / "run").exists()
