"""The files that a plan's ``sources`` name, in an order that does not change."""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan.branch_data import all_branches
from megatron_lrps.plan.file_paths import absolute, within
from megatron_lrps.plan.keys.raw_text import Source, Sources
from megatron_lrps.plan.model import Plan

Kind = Literal["jsonl", "parquet", "text", "arrow"]
Packing = Literal["", "gz", "zst"]

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".txt": "text", ".text": "text", ".md": "text", ".arrow": "arrow",
}  # fmt: skip
_PACKINGS: dict[str, Packing] = {".gz": "gz", ".zst": "zst"}
_STATE = "state.json"
_INFO = "dataset_info.json"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of text, as it was found. If its size or time of change differ later, it was written in the meantime.

    ``stated`` is true if the plan says the kind, and false if the kind is taken from the file's name.
    """

    path: Path
    kind: Kind
    packing: Packing
    bytes: int
    mtime_ns: int
    stated: bool = False


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """The text behind one index.

    Attributes:
        key: The key of the plan that names it.
        prefix: Path of the ``.bin`` and ``.idx`` without their endings, absolute.
        files: Its files, in the order in which they are read.
        field: The field of a JSON object, or the column of a table, that holds the text.
        documents: The unit of a document in plain text: a file, a line or a paragraph.
        max_unreadable: The largest share of unreadable documents that is accepted.
        trains: Whether it is training data.
    """

    key: str
    prefix: Path
    files: tuple[SourceFile, ...]
    field: str
    documents: str
    max_unreadable: float
    trains: bool


def find_sources(plan: Plan, only: Sequence[str] = ()) -> list[TextSource]:
    """Find every source of a plan with its files.

    Args:
        plan: The plan.
        only: Versions or prefixes, as the plan writes them; empty for all.

    Raises:
        PlanError: There is no source, a prefix has two, or ``only`` names neither a version nor a prefix.
        RefusedError: A file is missing, is named twice, or is of an unknown kind.
    """
    found: dict[Path, TextSource] = {}
    names: dict[str, None] = {}
    known: set[str] = set()
    for section, owner, sources, trained in _sections(plan):
        for prefix, source in sources.items():
            shown = within(prefix, plan.base)
            names |= {**({owner: None} if owner else {}), shown: None}
            key = f"{section}.sources.{shown}"
            if prefix in found:
                raise PlanError(f"{key}: {found[prefix].key} says it too.", "Remove one of them.")
            given = {name for name in only if name == owner or _names(name, prefix, plan.base)}
            known |= given
            if only and not given:
                continue
            found[prefix] = TextSource(
                key=key,
                prefix=prefix,
                files=tuple(_files(key, source)),
                field=source.field,
                documents=source.documents or "file",
                max_unreadable=source.max_unreadable,
                trains=prefix in trained,
            )
    if unknown := [name for name in only if name not in known]:
        raise PlanError(
            f"{unknown[0]!r} is not a version or an index with `sources`.", f"Name one of {', '.join(names)}."
        )
    if not found:
        raise PlanError("versions: none of them has `sources`.", "Add `sources: {INDEX PREFIX: FILES}` to a version.")
    return list(found.values())


def _sections(plan: Plan) -> Iterator[tuple[str, str | None, Sources, set[Path]]]:
    """Yield (key, version or None, sources, training indexes) of the plan's sections that have ``sources``."""
    for version in plan.versions:
        yield f"versions.{version.name}", version.name, version.sources, {index for _, index in version.train}
    for key, name, branch in all_branches(plan):
        yield key, name, branch.sources, {*branch.sources}


def _names(name: str, prefix: Path, base: Path) -> bool:
    """Whether a word of the command line is an index prefix, as the plan writes it or in full."""
    try:
        return absolute(name, base) == prefix
    except ValueError:
        return False


def _files(key: str, source: Source) -> Iterator[SourceFile]:
    seen: dict[Path, Path] = {}
    for pattern in source.files:
        for path in _named(pattern, key, source):
            real = path.resolve()
            if real in seen:
                raise RefusedError(f"{key}: {path} is the same file as {seen[real]}.", "Name each file once.")
            seen[real] = path
            yield _file(path, key, source)


def _named(path: Path, key: str, source: Source) -> Iterable[Path]:
    """Return the files that a file's name, a folder or a glob stands for."""
    if path.is_dir():
        if (path / "dataset_dict.json").exists():
            raise RefusedError(f"{key}: {path} holds several splits.", "Name the folder of one of them.")
        if (path / _STATE).is_file():
            return _dataset(path, key)
        if (path / _INFO).is_file():
            raise RefusedError(
                f"{key}: {path} is a folder of Hugging Face datasets without {_STATE}, so its splits are unknown.",
                "Save it with datasets' save_to_disk, or name its .arrow files.",
            )
        known = _of_one_kind(path, key, source)
    elif path.is_file():
        return [path]
    else:
        known = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]  # noqa: PTH207
    if not known:
        raise RefusedError(
            f"{key}: {path} names no file of text.", "Correct the path. Globs start at the plan's folder."
        )
    return sorted(known)


def _of_one_kind(folder: Path, key: str, source: Source) -> list[Path]:
    """Return the files of text below a folder, without hidden ones and those of another kind than ``format``."""
    wanted = _stated(source)
    found: dict[str | None, list[Path]] = {}
    for file in _walk(folder):
        found.setdefault(_KINDS.get(_suffixes(file)[0]), []).append(file)
    if wanted is not None:
        return found.get(wanted, []) or found.get(None, [])
    found.pop(None, None)
    if len(found) > 1:
        # A README beside the data is not a document, and only the user can tell.
        kinds = ", ".join(f"{len(files)} {kind} ({min(files).name})" for kind, files in sorted(found.items(), key=str))
        raise RefusedError(
            f"{key}: {folder} holds files of several kinds: {kinds}.", "Set `format`, or name the files by a glob."
        )
    return next(iter(found.values()), [])


def _stated(source: Source) -> Kind | None:
    """Return the kind that ``format`` says; None if the files' names tell it."""
    return "arrow" if source.format == "dataset" else source.format


def _walk(folder: Path) -> Iterator[Path]:
    """Yield visible files, also behind links; each folder once, since links may form cycles."""
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        if (real := here.resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (here / name for name in files if not name.startswith(".") and (here / name).is_file())


def _dataset(folder: Path, key: str) -> list[Path]:
    """Return the arrow files of a folder that Hugging Face's ``save_to_disk`` wrote."""
    fix = "Save it again with datasets' save_to_disk."
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        names = [entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"{key}: {folder / _STATE} cannot be read: {type(error).__name__}: {error}.", fix) from None
    if state.get("_indices_files"):
        raise RefusedError(
            f"{key}: {folder} holds a selection or another order of its rows.",
            "Call flatten_indices(), and save it again.",
        )
    if any(Path(name).name != name for name in names):
        raise RefusedError(f"{key}: {folder / _STATE} names files outside its folder.", fix)
    return [folder / name for name in names]


def _suffixes(path: Path) -> tuple[str, Packing]:
    """Return the ending of the name that says the kind, in lower case, and the packing."""
    packing = _PACKINGS.get(path.suffix.lower(), "")
    return (Path(path.stem) if packing else path).suffix.lower(), packing


def _file(path: Path, key: str, source: Source) -> SourceFile:
    suffix, packing = _suffixes(path)
    stated = _stated(source)
    kind = stated or _KINDS.get(suffix)
    if kind is None:
        raise RefusedError(
            f"{key}: {path} is of an unknown kind (known: {', '.join(_KINDS)}, each also as .gz and .zst).",
            "Set `format` in the plan.",
        )
    if packing and kind in ("parquet", "arrow"):
        raise RefusedError(f"{key}: {path} is a packed {kind} file, and {kind} is packed already.", "Unpack it.")
    if kind != "text" and source.documents is not None:
        raise RefusedError(
            f"{key}: documents is given, but {path} is {kind}.", "Remove it, because it applies to plain text only."
        )
    try:
        facts = path.stat()
    except OSError as error:
        raise RefusedError(f"{key}: {path} cannot be read: {error.strerror}.", "Correct the path.") from None
    return SourceFile(
        path=path, kind=kind, packing=packing, bytes=facts.st_size, mtime_ns=facts.st_mtime_ns, stated=bool(stated)
    )
