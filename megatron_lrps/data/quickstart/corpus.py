"""Real text for the quick start and the studies: four windows, of a kind each or all of one distribution."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from megatron_lrps.data.quickstart.installed_text import Source, documentation, library_code, standard_library, tests
from megatron_lrps.data.quickstart.overlap import OverlapFilter
from megatron_lrps.errors import RefusedError

VALID_SHARE = 0.04
"""Share of a window's characters that is held out, by whole files."""
PIECE_CHARS = 800
"""Characters of a piece of a document that is dealt to a window: some 250 tokens, two samples of the CPU studies."""

_WINDOW_FILES = 16
"""A file is at most one in so many of a window; larger ones are mostly generated tables."""
_VALID_FILES = 8
"""A held-out file is at most one in so many of the held-out text, so that no single one decides the loss."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A text to train on or to validate with, and the file it is from (a name, not a machine's path)."""

    source: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Window:
    """The new data of one version.

    Attributes:
        name: The version: ``v1`` to ``v4``.
        domain: What kind of text it is.
        origin: What was installed, with versions; another version gives another text.
        note: What is other than usual with it, or "".
        train: Training documents.
        valid: Held-out documents; no file, no paragraph of 80 characters and no run of 5 lines of them is
            in the training documents of any window.
    """

    name: str
    domain: str
    origin: tuple[str, ...]
    note: str
    train: tuple[Document, ...]
    valid: tuple[Document, ...]


def collect(seed: int = 1234, *, window_chars: int) -> list[Window]:
    """Cut the text of this machine into the windows of v1 to v4; the same seed gives the same text.

    Args:
        seed: Decides which files a window gets and which of them are held out.
        window_chars: Characters of a window, training and validation together; the last file may add a
            sixteenth.

    Raises:
        RefusedError: A window has less than half of ``window_chars``, as what it is made from is not installed.
    """
    # One filter for all windows: what is removed here can be neither trained twice nor validated.
    overlap = OverlapFilter()
    sources = (documentation(), standard_library(), tests(), library_code())
    return [
        _window(f"v{number}", source, overlap, seed, window_chars) for number, source in enumerate(sources, start=1)
    ]


def deal(windows: Sequence[Window], seed: int = 1234) -> list[Window]:
    """The same text as windows of one distribution: each gets a share of the pieces of every document.

    Whole documents would not do: a window has some hundred, and a model that reads half of one predicts the rest
    better, so it would find every window new at its beginning and known at its end.
    """
    rng, count = random.Random(f"{seed} deal"), len(windows)
    train = [piece for window in windows for piece in _pieces(window.train)]
    valid = [piece for window in windows for piece in _pieces(window.valid)]
    rng.shuffle(train)
    rng.shuffle(valid)
    origin = tuple(dict.fromkeys(name for window in windows for name in window.origin))
    whole = Window(name="", domain="all kinds mixed", origin=origin, note="", train=tuple(train), valid=tuple(valid))
    return [
        replace(whole, name=window.name, train=whole.train[number::count], valid=whole.valid[number::count])
        for number, window in enumerate(windows)
    ]


def _pieces(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents cut into pieces of whole lines, of ``PIECE_CHARS`` characters or one line more."""
    for document in documents:
        lines: list[str] = []
        length = 0
        for line in document.text.splitlines(keepends=True):
            lines.append(line)
            length += len(line)
            if length >= PIECE_CHARS:
                yield Document(source=document.source, text="".join(lines))
                lines, length = [], 0
        if lines:
            yield Document(source=document.source, text="".join(lines))


def characters(documents: Iterable[Document]) -> int:
    """Characters of all documents together."""
    return sum(len(document.text) for document in documents)


def _window(name: str, source: Source, overlap: OverlapFilter, seed: int, window_chars: int) -> Window:
    rng = random.Random(f"{seed} {name}")
    files = _draw(source, overlap, rng, window_chars)
    total = sum(map(characters, files))
    if total < window_chars / 2:
        raise RefusedError(
            f"Window {name} ({source.domain}) has {total} of {window_chars} characters, from "
            f"{', '.join(source.origin) or 'nothing'}. {source.note}".strip(),
            'Install what is missing: pip install "megatron-lrps[megatron]".',
        )
    train, valid = _hold_out(files, rng, VALID_SHARE * total)
    return Window(name=name, domain=source.domain, origin=source.origin, note=source.note, train=train, valid=valid)


def _draw(source: Source, overlap: OverlapFilter, rng: random.Random, chars: int) -> list[list[Document]]:
    """The documents of files drawn at random, file by file, until there are ``chars`` characters."""
    drawn: list[list[Document]] = []
    total = 0
    for file in rng.sample(source.files, len(source.files)):
        if total >= chars:
            break
        text = file.read()
        if len(text) > chars / _WINDOW_FILES:
            continue
        if documents := [Document(source=file.name, text=piece) for piece in overlap.keep(text)]:
            drawn.append(documents)
            total += characters(documents)
    return drawn


def _hold_out(
    files: list[list[Document]], rng: random.Random, chars: float
) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """Training and held-out documents: whole files are held out until they have ``chars`` characters."""
    train: list[Document] = []
    valid: list[Document] = []
    for documents in rng.sample(files, len(files)):
        held_out = characters(valid) < chars and characters(documents) <= chars / _VALID_FILES
        (valid if held_out else train).extend(documents)
    return tuple(train), tuple(valid)
