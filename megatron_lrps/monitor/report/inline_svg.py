"""An SVG file of matplotlib's as a part of a page, in the page's own colours, light or dark."""

import re
from dataclasses import dataclass

from markupsafe import Markup

_COLOUR = re.compile(r"(?<=: )#([0-9a-f]{6})\b")
_COORDINATE = re.compile(r"(\d+\.\d)\d+")


@dataclass(frozen=True)
class InlineSvg:
    """A picture for a template.

    Attributes:
        name: The beginning of its ids, of which a page has each once.
        view: The SVG's ``viewBox``.
        drawing: Its elements, whole and safe.
    """

    name: str
    view: str
    drawing: Markup


def inline_svg(name: str, svg: str) -> InlineSvg:
    """The picture from a file's content, without its style sheet, which would hold for the whole page."""
    view = re.search(r'viewBox="([\d .]+)"', svg)
    inside = svg[svg.index("<g ") : svg.rindex("</svg>")]
    inside = re.sub(r'\bid="', f'id="{name}-', inside)
    inside = re.sub(r'xlink:href="#', f'href="#{name}-', inside).replace("url(#", f"url(#{name}-")
    inside = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", inside)
    inside = re.sub(r' d="([^"]*)"', lambda found: f' d="{_short(found[1])}"', inside)
    inside = re.sub(r'(<text )?style="([^"]*)"', _recoloured, inside)
    return InlineSvg(name, view[1] if view else "0 0 864 432", Markup(inside))


def _short(path: str) -> str:
    """A path's data with one digit after the point: a tenth of a point does not show."""
    return _COORDINATE.sub(r"\1", re.sub(r"\s+", " ", path.strip()))


def _recoloured(found: re.Match[str]) -> str:
    of_text = "text-" if found[1] else ""
    return f'{found[1] or ""}style="{_COLOUR.sub(rf"var(--{of_text}\1, #\1)", found[2])}"'
