"""HTML pages from the templates beside this file: no script, nothing fetched; for a phone, a keyboard, a screen reader.

Templates get plain facts, and the words around these stand in the templates. Each value is escaped. A page is
well-formed XML as well, so that its tests can parse it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.colours import SHADES
from megatron_lrps.monitor.text_table import clean

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise RefusedError(f"jinja2 cannot be imported: {error}.", "install it: pip install jinja2.") from None

_COLOUR = re.compile(r"(?<=: )#([0-9a-f]{6})\b")
_COORDINATE = re.compile(r"(\d+\.\d)\d+")


def _shown(value: Any) -> Any:
    """Format a template's value: None as a dash, integers with thousands apart, texts from files cleaned and cut."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _several(names: Sequence[str], between: str = ", ") -> str:
    """Join names: the first 20, and how many more there are."""
    shown = between.join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


TEMPLATES = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters["several"] = _several
TEMPLATES.globals["shades"] = SHADES


def render(template: str, **facts: Any) -> str:
    """Render a whole page.

    Args:
        template: A file's name in ``templates/``.
        facts: The values that it shows; a template that asks for more raises jinja2's UndefinedError.
    """
    return TEMPLATES.get_template(template).render(facts)


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
    """Return the picture from a file's content, without its style sheet, which would apply to the whole page."""
    view = re.search(r'viewBox="([\d .]+)"', svg)
    inside = svg[svg.index("<g ") : svg.rindex("</svg>")]
    inside = re.sub(r'\bid="', f'id="{name}-', inside)
    inside = re.sub(r'xlink:href="#', f'href="#{name}-', inside).replace("url(#", f"url(#{name}-")
    inside = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", inside)
    inside = re.sub(r' d="([^"]*)"', lambda found: f' d="{_short(found[1])}"', inside)
    inside = re.sub(r'(<text )?style="([^"]*)"', _recoloured, inside)
    return InlineSvg(name, view[1] if view else "0 0 864 432", Markup(inside))


def _short(path: str) -> str:
    """Shorten a path's data to one digit after the point: a tenth of a point does not show."""
    return _COORDINATE.sub(r"\1", re.sub(r"\s+", " ", path.strip()))


def _recoloured(found: re.Match[str]) -> str:
    of_text = "text-" if found[1] else ""
    return f'{found[1] or ""}style="{_COLOUR.sub(rf"var(--{of_text}\1, #\1)", found[2])}"'
