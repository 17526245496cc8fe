"""Where the quick start's text comes from: what is installed beside this package, nothing downloaded.

Python's own files are under the PSF licence; numpy, matplotlib, networkx and torch are under BSD licences
(matplotlib's is PSF-based), megatron-core is Apache-2.0. The text is written into the user's folder only.
"""

import ast
import importlib
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

DOCUMENTED_LIBRARIES = ("matplotlib", "networkx", "numpy")
"""Libraries for their docstrings and, where Python came without its tests, for their tests."""
CODE_LIBRARIES = ("megatron-core", "torch")
"""Libraries for their code. None is in both lists: no file may be in two windows."""

TEST_FOLDERS = {"test", "tests"}
NO_TEXT_FOLDERS = {"encodings", "idlelib", "lib2to3", "pydoc_data", "site-packages"}
"""Folders of the standard library that are tables, or other people's."""
TESTS_ENOUGH_BYTES = 2_000_000
"""Some builds keep only ``test/support`` of Python's tests; below this they count as left out."""
DOCSTRING_CHARS = 200
"""Shorter docstrings repeat the function's name."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One text that is read when it is wanted; ``name`` is the same on every machine."""

    name: str
    read: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files one window is drawn from, in sorted order.

    ``origin`` names what they belong to, with versions; ``note`` says what is other than usual, or is "".
    """

    domain: str
    origin: tuple[str, ...]
    files: tuple[File, ...]
    note: str = ""


def documentation() -> Source:
    """Prose: the language reference that ``help()`` shows, and docstrings of libraries."""
    modules, origin, note = _library_files(DOCUMENTED_LIBRARIES, tests=False)
    files = [File(name=name, read=partial(_docstrings, path)) for name, path in modules]
    return Source(
        domain="documentation",
        origin=(_python(), *origin),
        files=tuple(sorted([*files, *_topics()], key=lambda file: file.name)),
        note=note,
    )


def standard_library() -> Source:
    """Code: Python's standard library without its tests."""
    files = _python_files(_stdlib(), TEST_FOLDERS | NO_TEXT_FOLDERS)
    return Source(domain="standard library", origin=(_python(),), files=_code(files))


def tests() -> Source:
    """Tests: Python's own, or those of libraries where this Python came without them."""
    folder = _stdlib() / "test"
    files = _python_files(folder, {"data", "tokenizedata"}) if folder.is_dir() else []
    if sum(path.stat().st_size for _, path in files) >= TESTS_ENOUGH_BYTES:
        return Source(domain="tests", origin=(_python(),), files=_code(files))
    files, origin, missing = _library_files(DOCUMENTED_LIBRARIES, tests=True)
    note = f"{_python()} came without its tests; tests of {', '.join(origin)} stand in. {missing}".strip()
    return Source(domain="tests", origin=origin, files=_code(files), note=note)


def library_code() -> Source:
    """Code: deep-learning libraries without their tests."""
    files, origin, note = _library_files(CODE_LIBRARIES, tests=False)
    return Source(domain="library code", origin=origin, files=_code(files), note=note)


def _python() -> str:
    return f"python {platform.python_version()}"


def _stdlib() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _topics() -> list[File]:
    """The language reference by topic; a build may lack it."""
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ModuleNotFoundError:
        return []
    return [File(name=f"pydoc/{name}", read=partial(str, text)) for name, text in topics.items()]


def _python_files(folder: Path, without: set[str]) -> list[tuple[str, Path]]:
    """Name and path of every ``.py`` below ``folder`` that is in no folder named in ``without``."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if not without & set(inside.parent.parts):
            found.append(((Path(folder.name) / inside).as_posix(), path))
    return found


def _library_files(names: Iterable[str], *, tests: bool) -> tuple[list[tuple[str, Path]], tuple[str, ...], str]:
    """Name and path of the libraries' ``.py`` files, their versions, and a note on what is not installed."""
    files, origin, missing = [], [], []
    for name in sorted(names):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        origin.append(f"{name} {distribution.version}")
        for file in distribution.files or []:
            if file.suffix == ".py" and bool(TEST_FOLDERS & set(file.parent.parts)) is tests:
                files.append((file.as_posix(), Path(str(file.locate()))))
    note = f"Not installed: {', '.join(missing)}." if missing else ""
    return sorted(files), tuple(origin), note


def _code(files: Iterable[tuple[str, Path]]) -> tuple[File, ...]:
    return tuple(File(name=name, read=partial(_text, path)) for name, path in files)


def _text(path: Path) -> str:
    """The text of a file, or "" where it is gone or is no UTF-8: Python's tests hold such on purpose."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _docstrings(path: Path) -> str:
    """The docstrings of a module, classes and functions, outermost first."""
    try:
        with warnings.catch_warnings():
            # Old escapes in other people's strings are not this program's to warn about.
            warnings.simplefilter("ignore")
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
