"""Tables for TensorBoard's texts, which are Markdown."""

import html
from collections.abc import Sequence

from megatron_lrps.monitor.text_table import clean

TEXTS = "_campaign/"
"""What the tags of texts begin with. TensorBoard sorts it before Megatron's, of which each argument is one."""


def table(headers: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """A Markdown table; what a cell holds is shown as it is, and cut after 400 characters."""
    lines = [headers, ["---"] * len(headers), *([_cell(each) for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str | int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    # As entities: Markdown's own marks, and TensorBoard's sanitizer, leave these alone.
    return "".join(
        f"&#{ord(each)};" if each in "|\\`*_[]~!" else each for each in html.escape(clean(value), quote=False)
    )
