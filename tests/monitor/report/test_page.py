"""The page itself: folded tables, on the screen and in print, and colours that can be read."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures import colours
from megatron_lrps.monitor.report import page
from tests.monitor import chromium

PARTS: Any = page.TEMPLATES.get_template("table.html.jinja").module
HEADERS = ("a", "b")


def test_long_tables_are_folded() -> None:
    rows = [(f"r{i}", i) for i in range(PARTS.FOLDED + 1)]
    assert PARTS.table("Rows", HEADERS, rows[:-1]).startswith("<div")
    assert PARTS.table("Rows", HEADERS, rows).startswith("<details><summary>Rows: 25 rows</summary>")
    assert PARTS.table("Rows", HEADERS, []) == ""


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(each * 2 for each in colour)
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_commands_in_a_sentence_are_code() -> None:
    assert PARTS.prose("Run `lrps eval A < B`, then wait.") == "Run <code>lrps eval A &lt; B</code>, then wait."
    assert PARTS.prose("A lone ` stays.") == "A lone ` stays."


def test_contrast_is_enough_in_light_and_dark() -> None:
    style = page.TEMPLATES.get_template("style.css.jinja").render()
    light, dark = (
        dict(re.findall(r"--([\w-]+):#([0-9a-f]{3,6})\b", each)) for each in re.findall(r":root{([^}]*)}", style)
    )
    assert light.keys() == dark.keys()
    drawn = {each.lstrip("#").lower() for each in (colours.INK, *(look.colour for look in colours.LOOKS.values()))}
    assert {"333333", "cc79a7"} <= drawn
    assert {*drawn, *(f"text-{each}" for each in drawn), "dddddd", "ffffff"} <= light.keys()
    for shades in (light, dark):
        for name in ("ink", "soft", "link", *(name for name in shades if name.startswith("text-"))):
            for ground in ("page", "card"):
                darker, lighter = sorted((luminance(shades[name]), luminance(shades[ground])))
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, ground, shades[name])


def test_a_folded_table_is_printed(tmp_path: Path, program: str) -> None:
    rows = [(f"r{number}", number) for number in range(PARTS.FOLDED + 1)]
    file = tmp_path / "page.html"
    whole = '{% extends "page.html.jinja" %}{% block main %}{{ table }}{% endblock %}'
    file.write_text(page.TEMPLATES.from_string(whole).render(title="Rows", table=PARTS.table("Rows", HEADERS, rows)))
    shown = "document.querySelector('table').checkVisibility()"
    with chromium.browser(program, tmp_path / "profile") as tab:
        tab.open(file, width=1280)
        assert not tab.evaluate(shown)
        tab.call("Emulation.setEmulatedMedia", media="print")
        assert tab.evaluate(shown)


def test_a_page_that_lacks_a_fact_is_not_made() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        page.TEMPLATES.get_template("page.html.jinja").render()


def test_a_missing_jinja2_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(RefusedError, match="jinja2 cannot be imported"):
        importlib.reload(page)
