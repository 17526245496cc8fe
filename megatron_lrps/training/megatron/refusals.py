"""Turns an error with which Megatron refuses a run into one sentence: its condition, values, place and a fix.

Megatron checks its arguments by assertions and errors, hundreds of them, and many without a word. Until training
begins they are verdicts on what the user asked for; a later error is a failure, and keeps its traceback.
"""

import argparse
import ast
import errno
import linecache
import os
import re
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_fixes import fix_of

_KINDS = (
    AssertionError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    ImportError,
)
"""The errors that Megatron raises itself; those of checkpoints and storage are none of these."""
_ON_ARGUMENTS = {
    "parse_args",
    "validate_args",
    "core_transformer_config_from_args",
    "gpt_config_from_args",
    "pretrain_cfg_container_from_args",
    "get_megatron_optimizer_config",
}
"""Functions of the arguments alone: any error in them is due to the arguments."""
_TOKENIZER = "build_tokenizer"
_ABSENT = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES)
_SIGNALLED = "_graceful_shutdown"
_begun = False


def begin_training() -> None:
    """Take no later error for a verdict on the arguments."""
    global _begun
    _begun = True


def judge(error: BaseException) -> RefusedError | None:
    """Return the refusal that an error of Megatron stands for; None if it is a failure, or training has begun."""
    if _begun:
        return None
    if (isinstance(error, OSError) and error.errno == errno.EADDRINUSE) or "EADDRINUSE" in str(error):
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        return RefusedError(
            f"Another process uses the address {address} (MASTER_ADDR:MASTER_PORT).", "choose a port that is free."
        )
    frames = _frames(error)
    if not frames:
        return None
    inner, line = frames[-1]
    names = {frame.f_code.co_name for frame, _ in frames}
    if isinstance(error, SystemExit):
        # exit(), after a message on standard output: the run would end with 0 and nothing trained.
        refused = error.code in (None, 0) and _SIGNALLED not in names and _raised_in(error, inner)
    elif _TOKENIZER in names:
        refused = not isinstance(error, OSError) or error.errno in _ABSENT
    elif isinstance(error, _KINDS) or type(error) is Exception:
        deliberate = _statement(inner, line) is not None and _raised_in(error, inner)
        refused = deliberate or bool(names & _ON_ARGUMENTS)
    else:
        refused = False
    if not refused:
        return None
    what = explain(error)
    return RefusedError(f"Megatron refuses this run ({_module(inner)}, line {line}): {what.rstrip('.')}.", fix_of(what))


def explain(error: BaseException) -> str:
    """Return Megatron's message, or the condition of an assertion without one, and the values that it leaves out."""
    text = " ".join(str(error).split())
    frames = _frames(error)
    if not frames:
        return text or type(error).__name__
    frame, line = frames[-1]
    node = _statement(frame, line)
    source = linecache.getline(frame.f_code.co_filename, line).strip()
    bare = isinstance(error, SystemExit) or not text
    if isinstance(error, SystemExit):
        text = "it ends here, with nothing trained"
    elif isinstance(error, AssertionError) and not text:
        text = f"it needs {_plain(node.test)}" if isinstance(node, ast.Assert) else f"it needs {source}"
    elif node is None or (isinstance(node, ast.Assert) and not isinstance(error, AssertionError)):
        text = f"{type(error).__name__}: {text}, in {source}"
    said = set(re.findall(r"[\w.-]+", text))
    # A message names its subject, but many lack the numbers.
    values = [
        f"{name} is {value}"
        for name, value in _values(frame, line).items()
        if bare or (type(value) in (int, float) and str(value) not in said)
    ]
    return f"{text.rstrip('.')}; {', '.join(values)}" if values else text


def refuse_usage(parser: argparse.ArgumentParser) -> None:
    """Let a parser refuse a wrong command line in one sentence, in place of its usage text."""

    def refuse(message: str) -> NoReturn:
        known = [option for action in parser._actions for option in action.option_strings]
        unknown = message.partition("unrecognized arguments: ")[2].split()
        flag = next((word.partition("=")[0] for word in unknown if word.startswith("--")), "")
        near = get_close_matches(flag, known, 1, cutoff=0.75) if flag else []
        fix = f"did you mean {near[0]}?" if near else fix_of(message)
        raise RefusedError(f"The command line is refused: {message}.", fix) from None

    parser.error = refuse  # type: ignore[method-assign]


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """Return Megatron's frames of an error, the innermost last; none if the plugin itself raised it."""
    found = list(traceback.walk_tb(error.__traceback__))
    packages = [_module(frame).partition(".")[0] for frame, _ in found]
    last = max((index for index, package in enumerate(packages) if package == "megatron"), default=-1)
    if "megatron_lrps" in packages[last + 1 :]:
        return []
    return [each for each, package in zip(found, packages, strict=True) if package == "megatron"]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _raised_in(error: BaseException, inner: FrameType) -> bool:
    """Whether an error is raised in this frame itself, not in a library that it calls."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return all(_module(frame) == "_sitebuiltins" for frame in frames[frames.index(inner) + 1 :])  # exit() is a frame


@cache
def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _around(frame: FrameType, line: int) -> list[ast.stmt]:
    """Return the statements that a line lies in, the innermost last."""
    tree, found = _parsed(frame.f_code.co_filename), []
    for node in ast.walk(tree) if tree else ():  # breadth first: from the outside to the inside
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            found.append(node)
    return found


def _statement(frame: FrameType, line: int) -> ast.Assert | ast.Raise | None:
    """Return the assertion or ``raise`` in a line; None if the line fails unintentionally."""
    around = _around(frame, line)
    return around[-1] if around and isinstance(around[-1], ast.Assert | ast.Raise) else None


def _conditions(frame: FrameType, line: int) -> Iterator[ast.AST]:
    """Yield the conditions that decide about a line: an assertion's own, and that of the branch around it."""
    around = _around(frame, line)
    if around and isinstance(around[-1], ast.Assert):
        yield around[-1].test
    elif around and not isinstance(around[-1], ast.Raise):
        yield around[-1]
    branches = [node for node in around if isinstance(node, ast.If)]
    if branches and any(node.lineno <= line <= (node.end_lineno or line) for node in branches[-1].body):
        yield branches[-1].test


def _values(frame: FrameType, line: int) -> dict[str, Any]:
    """Return name -> value for the names in a line's conditions, as far as they are plain numbers and words."""
    values: dict[str, Any] = {}
    for condition in _conditions(frame, line):
        called = {id(node.func) for node in ast.walk(condition) if isinstance(node, ast.Call)}
        for node in ast.walk(condition):
            match node:
                case ast.Attribute(value=ast.Name(id=owner), attr=name) if id(node) not in called:
                    value = getattr(frame.f_locals.get(owner), name, None)
                case ast.Name(id=name) if id(node) not in called:
                    value = frame.f_locals.get(name)
                case _:
                    continue
            if isinstance(value, bool | int | float | str) and len(str(value)) <= 80:
                values.setdefault(name.replace("_", "-"), value)
    return values


def _plain(condition: ast.expr) -> str:
    """Return a condition as a user reads it: without the objects that hold the values."""
    text = ast.unparse(condition)
    for owner in ("args.", "self.", "config."):
        text = text.replace(owner, "")
    return text
