"""Words for numbers of things."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 file`` or ``2,634 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
