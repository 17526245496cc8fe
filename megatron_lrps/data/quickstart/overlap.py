"""Removal of text that occurs twice, so that a held-out document is new to every training window."""

from collections.abc import Iterable

RUN_LINES = 5
"""Non-blank lines in a row that count as the same text wherever they stand."""
PARAGRAPH_CHARS = 80
"""A paragraph this long counts as the same text. Shorter ones are the language's own (``import os``)."""
PIECE_CHARS = 200
"""What is left between two removed places is kept if it is this long; less is no document."""

Paragraph = tuple[str, ...]


class OverlapFilter:
    """Keeps of each file what no earlier file held.

    After it, no run of ``RUN_LINES`` non-blank lines and no paragraph of ``PARAGRAPH_CHARS`` characters is in
    the kept text of two files; lines are compared without the white space around them. Repetition inside one
    file stays: a file is never cut between training and validation.
    """

    def __init__(self) -> None:
        # The lines themselves, not their hashes: exact, and about 100 MB for 15 MB of text.
        self._seen: set[Paragraph] = set()

    def keep(self, text: str) -> list[str]:
        """The new parts of one file's text, in order; each begins and ends at a paragraph border."""
        pieces = [piece for piece in self._new_pieces(paragraphs(text)) if _length(piece) >= PIECE_CHARS]
        for piece in pieces:
            self._seen.update(_runs(piece))
            self._seen.update(stripped(paragraph) for paragraph in piece if _is_long(paragraph))
        return ["\n\n".join("\n".join(paragraph) for paragraph in piece) + "\n" for piece in pieces]

    def _new_pieces(self, parts: list[Paragraph]) -> list[list[Paragraph]]:
        # Whole paragraphs go, never a part of one: the rest of a paragraph would be a text that no file
        # has, and removed lines would bring lines together that no file has together.
        old = {index for index, part in enumerate(parts) if _is_long(part) and stripped(part) in self._seen}
        owners = [index for index, part in enumerate(parts) for _ in part]
        for first, run in enumerate(_runs(parts)):
            if run in self._seen:
                old.update(owners[first : first + RUN_LINES])
        pieces: list[list[Paragraph]] = [[]]
        for index, part in enumerate(parts):
            if index in old:
                pieces.append([])
            else:
                pieces[-1].append(part)
        return pieces


def paragraphs(text: str) -> list[Paragraph]:
    """The lines of each stretch of text between blank lines, white space at line ends removed."""
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line := line.rstrip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [tuple(lines) for lines in found if lines]


def stripped(lines: Iterable[str]) -> Paragraph:
    """The lines as they are compared: without the white space around them."""
    return tuple(line.strip() for line in lines)


def _runs(parts: Iterable[Paragraph]) -> list[Paragraph]:
    """Every run of ``RUN_LINES`` non-blank lines, by its first line; blank lines between do not count."""
    lines = stripped(line for part in parts for line in part)
    return [lines[first : first + RUN_LINES] for first in range(len(lines) - RUN_LINES + 1)]


def _is_long(paragraph: Paragraph) -> bool:
    return sum(map(len, stripped(paragraph))) >= PARAGRAPH_CHARS


def _length(piece: Iterable[Paragraph]) -> int:
    return sum(len(line) for paragraph in piece for line in paragraph)
