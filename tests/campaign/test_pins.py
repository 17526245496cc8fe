"""Pins: what they keep, and what is refused."""

import json
import shutil

import pytest

from megatron_lrps.campaign.pins import add_pin, drop_pin, read_pins
from megatron_lrps.campaign.removal import judge
from megatron_lrps.errors import RefusedError
from tests.campaign.campaigns import Campaign


def test_a_pin_keeps_a_checkpoint(campaign: Campaign) -> None:
    main = campaign["main"]
    campaign.save("main", 100, 200, 600)
    add_pin(main, 200, "best loss")
    add_pin(main, 100, "")
    assert campaign.goes("main") == []
    assert (campaign.reason("main", 100), campaign.reason("main", 200)) == ("pinned", "pinned: best loss")
    add_pin(main, 200, "two\nlines")
    assert campaign.reason("main", 200) == "pinned: 'two\\nlines'"
    assert list(read_pins(main)) == [100, 200]
    drop_pin(main, 200)
    assert campaign.goes("main") == [200]
    drop_pin(main, 100)
    assert campaign.goes("main") == [100, 200]


def test_only_what_is_complete_can_be_pinned(campaign: Campaign) -> None:
    campaign.save("main", *range(100, 1300, 100))
    campaign.save("main", 1300, whole=False)
    with pytest.raises(RefusedError, match=r"450 of main does not exist; there are 100, 200, .*, 700, 800\. Fix: pin"):
        add_pin(campaign["main"], 450, "")  # the eight nearest
    with pytest.raises(RefusedError, match=r"1300 of main is not whole; there are 500, .*, 1200\."):
        add_pin(campaign["main"], 1300, "")
    with pytest.raises(RefusedError, match=r"there are none\."):
        add_pin(campaign["v1"], 450, "")
    assert not (campaign["main"].root / "pins.json").exists()


def test_removing_a_pin_needs_one_and_no_checkpoint(campaign: Campaign) -> None:
    campaign.save("main", 200)
    with pytest.raises(RefusedError, match=r"Checkpoint 200 of main is not pinned; none are"):
        drop_pin(campaign["main"], 200)
    add_pin(campaign["main"], 200, "")
    with pytest.raises(RefusedError, match=r"Checkpoint 300 of main is not pinned; 200 are"):
        drop_pin(campaign["main"], 300)
    shutil.rmtree(campaign["main"].checkpoints)
    drop_pin(campaign["main"], 200)
    assert read_pins(campaign["main"]) == {}


PIN = '{"iteration": 200, "note": "", "time": ""}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"pins": [' + PIN,
        "[]",
        "{}",
        '{"pins": {}}',
        '{"pins": [3]}',
        f'{{"pins": [{PIN}, null]}}',
        f'{{"pins": [{PIN}, {PIN.replace("200", "true")}]}}',
        f'{{"pins": [{PIN}, {PIN.replace("200", "2e2")}]}}',
        f'{{"pins": [{PIN.replace("note", "notes")}]}}',
        '{"pins": [{"iteration": 200}]}',
        '{"pins": [{"iteration": 200, "note": null, "time": ""}]}',
        "a link to nothing",
        "a folder",
    ],
)
def test_pins_that_cannot_be_read_are_refused(campaign: Campaign, text: str) -> None:
    campaign.save("main", 200, 600)
    file = campaign["main"].root / "pins.json"
    if text == "a link to nothing":
        file.symlink_to("nothing")
    elif text == "a folder":
        file.mkdir()
    else:
        file.write_text(text)
    for attempt in (
        lambda: judge(campaign.campaign),
        lambda: add_pin(campaign["main"], 200, ""),
        lambda: drop_pin(campaign["main"], 200),
    ):
        with pytest.raises(RefusedError, match=r"pins\.json cannot be read as pins, .* Fix: restore it; or remove"):
            attempt()
    assert campaign.saved("main") == [200, 600]


def test_pins_as_they_are_written(campaign: Campaign) -> None:
    campaign.save("main", 200)
    add_pin(campaign["main"], 200, "ü")
    (pin,) = json.loads((campaign["main"].root / "pins.json").read_text())["pins"]
    assert (pin["iteration"], pin["note"]) == (200, "ü")
    assert pin["time"].endswith("+00:00")


# Deleting
