"""What a job says of itself: it counts while that job holds its path."""

import json
from pathlib import Path

import pytest

from megatron_lrps.campaign import activity
from megatron_lrps.campaign.activity import Doing, Teller, doing_of
from megatron_lrps.campaign.folders import PathFolder
from tests.storage.owners import me


@pytest.fixture
def folder(tmp_path: Path) -> PathFolder:
    return PathFolder(tmp_path)


def test_words() -> None:
    assert str(Doing(what="starting")) == "starting"
    assert str(Doing(what="saving", total=1200)) == "saving at 1,200"
    assert str(Doing(what="evaluating", name="v1-web", done=12, total=40)) == "evaluating v1-web (12 of 40)"


def test_it_counts_for_the_job_that_wrote_it(folder: PathFolder) -> None:
    Teller(folder, "mine").tell("saving", total=40)
    found = doing_of(folder, me(token="mine"))
    assert (found and found.what, found and found.total) == ("saving", 40)
    assert doing_of(folder, me(token="another")) is None
    assert doing_of(folder, None) is None


def test_counts_within_a_second_are_not_written(folder: PathFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 100.9, 101.0, 101.1))
    monkeypatch.setattr(activity.time, "monotonic", lambda: next(clock))
    teller = Teller(folder, "mine")
    done = []
    for name, count in (("a", 0), ("a", 1), ("a", 2), ("b", 0)):
        teller.tell("evaluating", name=name, done=count, total=3)
        found = doing_of(folder, me(token="mine"))
        assert found is not None
        done.append((found.name, found.done))
    assert done == [("a", 0), ("a", 0), ("a", 2), ("b", 0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{torn", None),
        ('["list"]', None),
        ('{"token": "mine", "what": ["evaluating"]}', None),
        ('{"token": "mine", "what": "dancing"}', None),
        ('{"token": "mine", "what": "evaluating", "name": "\\u001b[2J", "done": -1, "total": "x"}', "evaluating"),
    ],
)
def test_nothing_in_the_file_is_trusted(folder: PathFolder, text: str, expected: str | None) -> None:
    (folder.root / "doing.json").write_text(text)
    found = doing_of(folder, me(token="mine"))
    assert (str(found) if found else None) == expected


def test_a_folder_that_takes_no_file_stops_nobody(tmp_path: Path) -> None:
    Teller(PathFolder(tmp_path / "gone"), "mine").tell("training")
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_whole(folder: PathFolder) -> None:
    Teller(folder, "mine").tell("training")
    assert [each.name for each in folder.root.iterdir()] == ["doing.json"]
    assert json.loads((folder.root / "doing.json").read_text())["token"] == "mine"
