"""Plain text tables. Not rich's: importing it would cost a third of what `lrps plan` may take."""

import math
from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows under headers; columns with only numbers (or ``-``) are right-aligned.

    Args:
        headers: One per column.
        rows: Each as long as ``headers``; cells are printed with ``str``, integers with thousands apart.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_numeric(cell) for cell in column[1:]) for column in columns]
    lines = [list(headers), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _numeric(cell: str) -> bool:
    cell = cell.rstrip("*\N{DAGGER}")  # marks of a figure
    return cell == "-" or cell.replace(",", "").replace(".", "").replace("e-", "").rstrip("%").isdigit()


def number_words(value: float, digits: int) -> str:
    """Format a figure: rounded, but never to nothing; infinity and NaN are named.

    Args:
        value: The figure.
        digits: Digits after the point; a number left with fewer than two of its own gets two: 0.0031.
    """
    if not math.isfinite(value):
        return "not finite"
    if value and abs(value) < 1e-6:
        return f"{value:.1e}"
    if value and abs(value) < 10 ** (1 - digits):
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"
    return f"{value:,.{digits}f}"


def count_words(count: int) -> str:
    """Format a large number with three digits: 9.24M, 1.2B, 100,000B; below a million in full."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:,.0f}{unit}"
    return f"{count:,}"


def epochs_words(epochs: float | None) -> str:
    """Format epochs with three digits; ``-`` if the index's tokens are unknown."""
    if epochs is None:
        return "-"
    return f"{epochs:.3g}" if epochs < 1000 else f"{epochs:,.0f}"


LONGEST = 400
"""The most characters of a text from a file that a page shows: a traceback in a history would bury all else."""


def clean(text: str) -> str:
    """Clean a text from a file: cut if very long, without characters that XML and UTF-8 lack.

    Unprintable are controls, lone surrogates, and marks that turn the direction of later text.
    """
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return "".join(
        each if each.isprintable() else " " if each.isspace() else "\N{REPLACEMENT CHARACTER}" for each in shown
    )
