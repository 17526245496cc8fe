"""File paths in the plan: one type for all keys that name files, resolved once, when the plan is read.

A path may be absolute, start at the plan file's folder, at a home folder (``~``), or hold environment variables
(``$SCRATCH``, ``${SCRATCH}``; ``$$`` is a dollar sign). After reading it is absolute. The accepted plan writes paths in
the campaign's folder relative to that folder, so that a campaign can be moved.
"""

import glob
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, PlainSerializer, SerializationInfo, ValidationInfo
from pydantic_core import PydanticCustomError

PATH_FLAGS = (
    "bert-load", "block-data-path", "ckpt-convert-save", "config-logger-dir", "data-cache-path", "embedding-path",
    "evidence-data-path", "flight-recorder-dump-path", "heterogeneous-layers-config-path", "ict-load",
    "langrl-env-config", "logits-load-dir", "logits-save-dir", "memory-snapshot-path", "merge-file",
    "moe-routing-trace-path", "nccl-communicator-config-path", "non-persistent-global-ckpt-dir",
    "non-persistent-local-ckpt-dir", "object-storage-cache-path", "per-dataset-sequences-path",
    "pretrained-checkpoint", "result-rejected-tracker-filename", "rl-profile-dir", "te-precision-config-file",
    "titles-data-path", "tokenizer-metadata", "vocab-file", "wandb-save-dir",
)  # fmt: skip
"""Flags under ``megatron:`` that name files; they start at the plan's folder too."""

_VARIABLE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([^}]*)\}?)")
_NAME = re.compile(r"[A-Za-z_]\w*\Z")


def absolute(written: str, base: Path) -> Path:
    """Return a plan's path as an absolute one; links are followed, except in the last component.

    Args:
        written: The path as the plan has it.
        base: The folder that relative paths start from.

    Raises:
        ValueError: it is empty, an address, or names a missing variable or home folder; with the fix.
    """
    full = os.path.join(base, _expanded(written))  # noqa: PTH118 - Path() would take the `.` off `./~name`
    folder, name = os.path.split(full.rstrip("/") or "/")
    try:
        if name in ("", ".", ".."):
            return Path(full).resolve()
        return Path(folder).resolve() / name
    except (RuntimeError, OSError) as error:  # links in a circle
        raise ValueError(f"cannot be followed ({error}); fix the links, or name another path") from None


def written(path: Path, folder: Path | None = None) -> str:
    """Return the text that ``absolute`` reads back as ``path``: relative to ``folder`` if inside it."""
    inside = folder is not None and path.is_relative_to(folder)
    text = str(path.relative_to(folder) if inside and folder else path).replace("$", "$$")
    return f"./{text}" if text.startswith("~") or not text.strip() else text


def within(file: str | Path, base: Path) -> str:
    """Return a file's name for display: relative to ``base`` if inside it."""
    path = Path(file)
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(file)


def _expanded(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("is not a file path; name one")
    if "://" in text:
        raise ValueError("is an address, and only files of a mounted file system are read; copy or mount it")
    if not text.startswith("~"):
        return _VARIABLE.sub(_value, text)
    user, slash, rest = text.partition("/")
    home = os.path.expanduser(user)  # noqa: PTH111 - Path's raises, and takes `~` inside of names
    if home.startswith("~"):
        raise ValueError("names a home folder that is not there; write the path in full")
    return home + slash + _VARIABLE.sub(_value, rest)


def _value(found: re.Match[str]) -> str:
    if found[0] == "$$":
        return "$"
    name = found[1] or found[2]
    if not _NAME.match(name) or (found[1] is None and not found[0].endswith("}")):
        raise ValueError(f"holds {found[0]}, which is not a plain variable such as ${{SCRATCH}}; write $$ for a dollar")
    value = os.environ.get(name)
    if not value:
        state = "not set" if value is None else "empty"
        raise ValueError(f"names the environment variable {name}, which is {state}; set it, or write the path in full")
    return value


def base_of(info: ValidationInfo) -> Path:
    """Return the folder that relative paths start from."""
    return Path((info.context or {}).get("base") or Path.cwd())


def read_path(value: Any, info: ValidationInfo) -> Path:
    """Return the absolute path that a plan's text stands for; raises ValueError with the fix."""
    if isinstance(value, Path):  # from another plan's model, so it is resolved already
        return value
    return absolute(_text(value), base_of(info))


def _read_pattern(value: Any, info: ValidationInfo) -> Path:
    """As ``read_path``, but keep a glob unresolved: its links are followed when its files are listed."""
    if isinstance(value, Path) or not glob.has_magic(_text(value)) or (path := absolute(value, base_of(info))).exists():
        return read_path(value, info)
    pattern = _expanded(value)
    return path if pattern.startswith("/") else Path(glob.escape(str(base_of(info).resolve()))) / pattern


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "Input should be a valid string")
    return value


def write_path(path: Path, info: SerializationInfo) -> str:
    """Return the text that ``read_path`` reads back, relative to the context's ``folder``."""
    context: Mapping[str, Any] = info.context or {}
    context.get("found", []).append(path)
    return written(path, context.get("folder")) if context.get("places", True) else path.name


_WRITTEN = PlainSerializer(write_path, return_type=str, when_used="json")
FilePath = Annotated[Path, BeforeValidator(read_path), _WRITTEN]
"""A file, a folder or an index prefix that a plan names; relative ones start at the context's ``base``.

In JSON it is relative to the context's ``folder`` if inside it; without ``places`` only its name.
"""
FilePattern = Annotated[Path, BeforeValidator(_read_pattern), _WRITTEN]
"""A file, a folder or a glob."""


def paths_in(model: BaseModel, **parts: Any) -> list[Path]:
    """Return all paths in a model, in the order of its keys; ``parts`` are pydantic's ``include`` and ``exclude``."""
    found: list[Path] = []
    model.model_dump(mode="json", context={"found": found}, **parts)
    return found


def read_program(command: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Resolve a command's program from the plan's folder if its name has a slash; else PATH finds it."""
    program, *arguments = command or ("",)
    return (str(absolute(program, base_of(info))), *arguments) if "/" in program else command


def write_program(command: tuple[str, ...], info: SerializationInfo) -> list[str]:
    """Return the text that ``read_program`` reads back."""
    program, *arguments = command or ("",)
    return [write_path(Path(program), info), *arguments] if "/" in program else list(command)


def read_flags[V](flags: dict[str, V], info: ValidationInfo) -> dict[str, V | str]:
    """Return Megatron's flags with those of ``PATH_FLAGS`` resolved; raises ValueError naming the flag."""
    found: dict[str, V | str] = {}
    for flag, value in flags.items():
        resolves = flag in PATH_FLAGS and isinstance(value, str)
        try:
            found[flag] = str(absolute(str(value), base_of(info))) if resolves else value
        except ValueError as error:
            raise ValueError(f"{flag}: {value!r} {error}") from None
    return found


def write_flags[V](flags: dict[str, V], info: SerializationInfo) -> dict[str, V | str]:
    """Return the flags that ``read_flags`` reads back."""
    return {
        flag: write_path(Path(value), info) if flag in PATH_FLAGS and isinstance(value, str) else value
        for flag, value in flags.items()
    }
