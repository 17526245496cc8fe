"""The tables of docs/convert.md are those of the families that the code has."""

from pathlib import Path

from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.without_counterpart import WITHOUT_COUNTERPART
from megatron_lrps.convert.families_table import with_tables

PAGE = Path(__file__).parents[2] / "docs" / "convert.md"


def test_the_page_holds_a_row_for_each_family() -> None:
    page = PAGE.read_text("utf-8")
    fix = "python -m megatron_lrps.convert.families_table docs/convert.md"
    assert with_tables(page) == page, fix
    for name in (*FAMILIES, *WITHOUT_COUNTERPART):
        assert f"| `{name}` |" in page
    assert not FAMILIES.keys() & WITHOUT_COUNTERPART.keys()
