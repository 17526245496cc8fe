"""The tables of families in ``docs/convert.md``: ``python -m megatron_lrps.convert.families_table docs/convert.md``.

It writes them into the page, between two pairs of comments; nothing in them is by hand.
"""

import re
import sys
from pathlib import Path

from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.without_counterpart import WITHOUT_COUNTERPART

_PLACE = "<!-- made by megatron_lrps.convert.families_table -->\n{}<!-- end -->"


def with_tables(page: str) -> str:
    """Return a page with both tables in their places, first the families that can be converted."""
    tables = iter((_families(), _lacking()))
    return re.sub(_PLACE.format("(?s:.*?)"), lambda place: _PLACE.format(next(tables)), page)


def _families() -> str:
    rows = [(f"`{each.name}`", each.models, each.made_by) for each in FAMILIES.values()]
    return _table(("family", "models", "Megatron's arguments that make it"), *rows)


def _lacking() -> str:
    rows = [(f"`{name}`", models, why) for name, (models, why) in WITHOUT_COUNTERPART.items()]
    return _table(("family", "models", "why it is refused"), *rows)


def _table(head: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *rows))


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_tables(file.read_text("utf-8")), "utf-8")
