"""A request to a path's job, and its answer."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.path_request import EVENTS, KINDS, Kind, answered, ask, asked, request_file, withdraw
from megatron_lrps.campaign.record import log_event


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_answered_once(kind: Kind, tmp_path: Path) -> None:
    main = PathFolder(tmp_path / "main")
    assert asked(main, kind) is None
    request = ask(main, kind, name="hotfix", holder="job")
    assert asked(main, kind) == request
    assert [asked(main, other) for other in KINDS if other != kind] == [None, None]
    assert answered(main, request) is None
    log_event(main, EVENTS[kind], iteration=7, token="another")
    assert answered(main, request) is None
    log_event(main, EVENTS[kind], iteration=9, token=request.token)
    assert answered(main, request) == 9
    newer = ask(main, kind)
    withdraw(main, request)  # not the one that waits now
    assert asked(main, kind) == newer
    withdraw(main, newer)
    assert not request_file(main, kind).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 3, "token": "x"}', '{"name": "x"}'])
def test_a_torn_request_is_none(content: str, tmp_path: Path) -> None:
    main = PathFolder(tmp_path)
    request_file(main, "cut").write_text(content)
    assert asked(main, "cut") is None
