"""The page itself: folded tables, on the screen and in print, and colours that can be read."""

import re
from pathlib import Path

from megatron_lrps.monitor.pictures import canvas
from megatron_lrps.monitor.report import html
from tests.monitor import chromium


def test_long_tables_are_folded() -> None:
    rows = [(f"r{i}", i) for i in range(html.FOLDED + 1)]
    assert html.table("Rows", ("a", "b"), rows[:-1]).startswith("<div")
    assert html.table("Rows", ("a", "b"), rows).startswith("<details><summary>Rows: 25 rows</summary>")
    assert html.table("Rows", ("a", "b"), []) == ""


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(each * 2 for each in colour)
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_commands_in_a_sentence_are_code() -> None:
    assert html.prose("Run `lrps eval A < B`, then wait.") == "Run <code>lrps eval A &lt; B</code>, then wait."
    assert html.prose("A lone ` stays.") == "A lone ` stays."


def test_contrast_is_enough_in_light_and_dark() -> None:
    light, dark = (
        dict(re.findall(r"--([\w-]+):#([0-9a-f]{3,6})\b", each)) for each in re.findall(r":root{([^}]*)}", html.STYLE)
    )
    assert light.keys() == dark.keys()
    drawn = {each.lstrip("#").lower() for each in (canvas.INK, *(look.colour for look in canvas.LOOKS.values()))}
    assert {"333333", "cc79a7"} <= drawn
    assert {*drawn, *(f"text-{each}" for each in drawn), "dddddd", "ffffff"} <= light.keys()
    for colours in (light, dark):
        for name in ("ink", "soft", "link", *(name for name in colours if name.startswith("text-"))):
            for ground in ("page", "card"):
                darker, lighter = sorted((luminance(colours[name]), luminance(colours[ground])))
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, ground, colours[name])


def test_a_folded_table_is_printed(tmp_path: Path, program: str) -> None:
    rows = [(f"r{number}", number) for number in range(html.FOLDED + 1)]
    file = tmp_path / "page.html"
    file.write_text(html.page("Rows", html.table("Rows", ("a", "b"), rows)))
    shown = "document.querySelector('table').checkVisibility()"
    with chromium.browser(program, tmp_path / "profile") as tab:
        tab.open(file, width=1280)
        assert not tab.evaluate(shown)
        tab.call("Emulation.setEmulatedMedia", media="print")
        assert tab.evaluate(shown)
