"""HTML pages from the templates beside this file: no script, nothing fetched; for a phone, a keyboard, a screen reader.

Templates get plain facts, and the words around these stand in the templates. Each value is escaped. A page is
well-formed XML as well, so that its tests can parse it.
"""

from collections.abc import Sequence
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.colours import SHADES
from megatron_lrps.monitor.text_table import clean

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as error:
    raise RefusedError(f"jinja2 cannot be imported: {error}.", "install it: pip install jinja2.") from None


def _shown(value: Any) -> Any:
    """How a template shows a value: None as a dash, integers with thousands apart, texts from files cleaned and cut."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _several(names: Sequence[str], between: str = ", ") -> str:
    """Names in a row: the first 20, and how many more there are."""
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
    """A whole page.

    Args:
        template: A file's name in ``templates/``.
        facts: What it shows; a template that asks for more raises jinja2's UndefinedError.
    """
    return TEMPLATES.get_template(template).render(facts)
