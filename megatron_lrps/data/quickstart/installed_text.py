"""Real text for the quick start and the studies: the text of installed packages; nothing is downloaded.

Each of four versions gets new text, either of its own kind or of all kinds mixed. Python's own files are under the
PSF licence; numpy, matplotlib, networkx and torch are under BSD licences (matplotlib's is PSF-based), megatron-core is
Apache-2.0. The text is written into the user's folder only.
"""

import ast
import importlib
import inspect
import platform
import random
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from megatron_lrps.errors import RefusedError

DOCUMENTED_LIBRARIES = ("matplotlib", "networkx", "numpy")
"""Libraries for their docstrings and, if Python came without its tests, for their tests."""
CODE_LIBRARIES = ("megatron-core", "torch")
"""Libraries for their code. None is in both lists, so that no file is in two kinds of text."""
TEST_FOLDERS = {"test", "tests"}
NO_TEXT_FOLDERS = {"encodings", "idlelib", "lib2to3", "pydoc_data", "site-packages"}
"""Folders of the standard library that hold tables, or other people's code."""
TESTS_ENOUGH_BYTES = 2_000_000
"""Some builds keep only ``test/support`` of Python's tests; with fewer bytes they count as left out."""
DOCSTRING_CHARS = 200
"""Shorter docstrings repeat the function's name."""

VALID_SHARE = 0.04
"""Share of a version's characters that is held out, by whole files."""
PIECE_CHARS = 800
"""Characters of a mixed document: some 250 tokens, two samples of the CPU studies."""
RUN_LINES = 5
"""This many non-blank lines in a row count as the same text anywhere."""
PARAGRAPH_CHARS = 80
"""A paragraph of so many characters counts as the same text. Shorter ones are the language's own (``import os``)."""
DOCUMENT_CHARS = 200
"""Less text between two removed places is not a document."""

Lines = tuple[str, ...]


class TextKind(NamedTuple):
    """A kind of text: its origin, with versions, and the readers of its files by a name without a machine's path.

    Another version of a library gives another text.
    """

    domain: str
    origin: tuple[str, ...]
    files: dict[str, Callable[[], str]]


class Document(NamedTuple):
    """A text to train on or to validate with, and the name of its file."""

    file: str
    text: str


class VersionText(NamedTuple):
    """The new text of a version.

    No file, no paragraph of 80 characters and no run of 5 lines of a held-out document (``valid``) is in a training
    document of any version.
    """

    name: str
    domain: str
    origin: tuple[str, ...]
    train: tuple[Document, ...]
    valid: tuple[Document, ...]


def collect(seed: int = 1234, *, version_chars: int) -> list[VersionText]:
    """Return the text of v1 to v4, a kind each; the same seed gives the same text.

    Args:
        seed: Decides which files a version gets and which of them are held out.
        version_chars: Characters of a version, training and validation together. The last file may add a sixteenth.

    Raises:
        RefusedError: A version has less than half of ``version_chars``, because libraries are not installed.
    """
    seen: set[Lines] = set()
    kinds = (documentation(), standard_library(), tests(), library_code())
    return [_draw(f"v{number}", kind, seen, seed, version_chars) for number, kind in enumerate(kinds, start=1)]


def mix(versions: Sequence[VersionText], seed: int = 1234, count: int | None = None) -> list[VersionText]:
    """Return the same text in one distribution: each version gets a share of the pieces of every document.

    With whole documents, of which a version has some hundred, a model would find every version's text new at its
    beginning and known at its end, because a model that reads half of a document predicts the rest better.

    Args:
        versions: The text, each version's of its own kind.
        seed: The seed of the deal.
        count: The number of versions to make, v1, v2 and so on; as many as there are by default.
    """
    rng, count = random.Random(f"{seed} deal"), count or len(versions)
    train = [piece for version in versions for piece in _pieces(version.train)]
    valid = [piece for version in versions for piece in _pieces(version.valid)]
    rng.shuffle(train)
    rng.shuffle(valid)
    origin = tuple(dict.fromkeys(name for version in versions for name in version.origin))
    return [
        VersionText(
            f"v{number + 1}", "all kinds mixed", origin, tuple(train[number::count]), tuple(valid[number::count])
        )
        for number in range(count)
    ]


def characters(documents: Iterable[Document]) -> int:
    """Count the characters of all documents."""
    return sum(len(document.text) for document in documents)


def _draw(name: str, kind: TextKind, seen: set[Lines], seed: int, chars: int) -> VersionText:
    """Return the text of files drawn at random until there are ``chars`` characters."""
    rng = random.Random(f"{seed} {name}")
    drawn: list[list[Document]] = []
    total = 0
    for file in rng.sample(list(kind.files), len(kind.files)):
        if total >= chars:
            break
        text = kind.files[file]()
        if len(text) <= chars / 16:  # larger ones are mostly generated tables
            drawn.append([Document(file, part) for part in unseen(text, seen)])
            total += characters(drawn[-1])
    if total < chars / 2:
        raise RefusedError(
            f"The text of {name} ({kind.domain}) has {total} of {chars} characters, from "
            f"{', '.join(kind.origin) or 'nothing'}.",
            f'Install {", ".join(DOCUMENTED_LIBRARIES + CODE_LIBRARIES)}: pip install "megatron-lrps[megatron]".',
        )
    files = [documents for documents in drawn if documents]
    train: list[Document] = []
    valid: list[Document] = []
    for documents in rng.sample(files, len(files)):
        # A file is at most an eighth of the held-out text, so that no single one decides the loss.
        held_out = characters(valid) < VALID_SHARE * total and characters(documents) <= VALID_SHARE * total / 8
        (valid if held_out else train).extend(documents)
    return VersionText(name, kind.domain, kind.origin, tuple(train), tuple(valid))


def _pieces(documents: Iterable[Document]) -> Iterator[Document]:
    """Cut documents into pieces of whole lines, of ``PIECE_CHARS`` characters or one line more."""
    for document in documents:
        piece = ""
        for line in document.text.splitlines(keepends=True):
            piece += line
            if len(piece) >= PIECE_CHARS:
                yield Document(document.file, piece)
                piece = ""
        if piece:
            yield Document(document.file, piece)


def unseen(text: str, seen: set[Lines]) -> list[str]:
    """Return the parts of a file's text that no earlier file held, in order; what they hold is added to ``seen``.

    Lines are compared without the white space around them. Repetition inside a file stays: a file is never cut between
    training and validation. Whole paragraphs go: the rest of a paragraph would be a text that no file has.
    """
    all_paragraphs = paragraphs(text)
    old = {number for touched, block in _blocks(all_paragraphs) if block in seen for number in touched}
    parts = [
        [all_paragraphs[number] for number in numbers]
        for is_old, numbers in groupby(range(len(all_paragraphs)), old.__contains__)
        if not is_old
    ]
    parts = [part for part in parts if sum(len(line) for paragraph in part for line in paragraph) >= DOCUMENT_CHARS]
    for part in parts:
        seen.update(block for _, block in _blocks(part))
    return ["\n\n".join(map("\n".join, part)) + "\n" for part in parts]


def paragraphs(text: str) -> list[Lines]:
    """Return the lines of each stretch of text between blank lines, without the white space at line ends."""
    return [tuple(lines) for filled, lines in groupby(map(str.rstrip, text.split("\n")), bool) if filled]


def _blocks(parts: Sequence[Lines]) -> Iterator[tuple[Sequence[int], Lines]]:
    """Yield the pieces by which texts are compared: runs of lines and long paragraphs, with the paragraphs touched."""
    lines = [line.strip() for paragraph in parts for line in paragraph]
    owners = [number for number, paragraph in enumerate(parts) for _ in paragraph]
    for first in range(len(lines) - RUN_LINES + 1):
        yield owners[first : first + RUN_LINES], tuple(lines[first : first + RUN_LINES])
    for number, paragraph in enumerate(parts):
        stripped = tuple(map(str.strip, paragraph))
        if sum(map(len, stripped)) >= PARAGRAPH_CHARS:
            yield [number], stripped


def documentation() -> TextKind:
    """Return prose: the language reference that ``help()`` shows, and docstrings of libraries."""
    modules, origin = _library_files(DOCUMENTED_LIBRARIES, tests=False)
    files = {name: partial(_docstrings, path) for name, path in modules.items()}
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:  # some builds lack it
        topics = {}
    files |= {f"pydoc/{name}": partial(str, text) for name, text in topics.items()}
    return TextKind("documentation", (_python(), *origin), dict(sorted(files.items())))


def standard_library() -> TextKind:
    """Return code: Python's standard library without its tests."""
    return TextKind("standard library", (_python(),), _code(_python_files(_stdlib(), TEST_FOLDERS | NO_TEXT_FOLDERS)))


def tests() -> TextKind:
    """Return tests: Python's own, or those of libraries if this Python came without them."""
    files = _python_files(_stdlib() / "test", {"data", "tokenizedata"})
    origin: tuple[str, ...] = (_python(),)
    if sum(path.stat().st_size for path in files.values()) < TESTS_ENOUGH_BYTES:
        files, origin = _library_files(DOCUMENTED_LIBRARIES, tests=True)
    return TextKind("tests", origin, _code(files))


def library_code() -> TextKind:
    """Return code: deep-learning libraries without their tests."""
    files, origin = _library_files(CODE_LIBRARIES, tests=False)
    return TextKind("library code", origin, _code(files))


def _python() -> str:
    return f"python {platform.python_version()}"


def _stdlib() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _python_files(folder: Path, without: set[str]) -> dict[str, Path]:
    """Return every ``.py`` file below ``folder`` by its name, except in folders named in ``without``."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.py"))]
    return {f"{folder.name}/{path.as_posix()}": folder / path for path in paths if not without & set(path.parent.parts)}


def _library_files(names: Iterable[str], *, tests: bool) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the ``.py`` files of the libraries that are installed, by their names, and the libraries' versions."""
    files, origin = {}, []
    for name in sorted(names):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        origin.append(f"{name} {distribution.version}")
        for file in distribution.files or []:
            if file.suffix == ".py" and bool(TEST_FOLDERS & set(file.parent.parts)) is tests:
                files[file.as_posix()] = Path(str(file.locate()))
    return dict(sorted(files.items())), tuple(origin)


def _code(files: dict[str, Path]) -> dict[str, Callable[[], str]]:
    return {name: partial(_text, path) for name, path in files.items()}


def _text(path: Path) -> str:
    """Return the text of a file, or "" if it is gone or is not UTF-8: Python's tests hold such files on purpose."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _docstrings(path: Path) -> str:
    """Return the docstrings of a module, classes and functions, outermost first."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old escapes in other people's strings
            tree = ast.parse(_text(path))
    except (SyntaxError, ValueError):
        return ""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False) or ""
            if len(text) >= DOCSTRING_CHARS:
                found.append(inspect.cleandoc(text))
    return "\n\n".join(found)
