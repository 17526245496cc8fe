"""The log that the ranks print: Megatron's progress lines, and the lines to show when a run has failed."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_STEP = re.compile(r" iteration +(\d+)/ *(\d+) \|.*?elapsed time per iteration \(ms\): ([\d.]+)")
_LR = re.compile(r"\| +learning rate: (\S+) \|")
_SKIPPED = re.compile(r"\| +number of skipped iterations: +(\d+) \|")
_LOSS = re.compile(r"\| +lm loss: (\S+) \|")
# The first line of torchrun's own report; the lines of the ranks come before it.
_TORCHRUN = re.compile(r"[WEI]\d{4} .*torch/distributed/elastic/.*\] +(Sending process|failed \(exitcode)")
_RANK = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")
_WORD = re.compile(r"(\d+) (rank \d+): (\w+): (.*)")
_TRACEBACK = "Traceback (most recent call last)"
_TAIL_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Step:
    """One of Megatron's progress lines (``training_log`` of megatron-core 0.19).

    Attributes:
        iteration: The last iteration that was trained.
        end: Megatron's ``--train-iters``.
        seconds: The mean time of an iteration since the line before.
        loss: The mean language-model loss since the line before; None if it is not finite or not logged.
        next_lr: The learning rate of the next iteration, because Megatron logs it after the scheduler's step.
        skipped: The iterations that the optimizer skipped.
    """

    iteration: int
    end: int
    seconds: float
    loss: float | None
    next_lr: float | None
    skipped: int = 0


def parse_step(line: str) -> Step | None:
    """Read a progress line; None if it is another line or is cut off."""
    match = _STEP.search(line)
    if match is None:
        return None
    return Step(
        iteration=int(match[1]),
        end=int(match[2]),
        seconds=float(match[3]) / 1000,
        loss=_number(_LOSS.search(line)),
        next_lr=_number(_LR.search(line)),
        skipped=int(_number(_SKIPPED.search(line)) or 0),
    )


def _number(match: re.Match[str] | None) -> float | None:
    try:
        return float(match[1]) if match else None
    except ValueError:
        return None


class LogFollower:
    """Reads the log of one start as it grows.

    Megatron prints a line after the first iteration, and counts that iteration in its second line again, whose loss and
    time are therefore means with the first. Here they are without it.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._begun = b""
        self._first: Step | None = None
        self._lines = 0

    def steps(self) -> Iterator[Step]:
        """Yield the progress lines since the last call; an incomplete line is kept for the next call."""
        with self._log.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            if step := parse_step(line.decode(errors="replace")):
                yield self._without_first(step)

    def _without_first(self, step: Step) -> Step:
        self._lines += 1
        if self._lines == 1:
            self._first = step
        if self._lines != 2 or (first := self._first) is None or step.iteration <= first.iteration:
            return step
        counted = step.iteration - first.iteration + 1
        seconds = (step.seconds * counted - first.seconds) / (counted - 1)
        loss = None
        trained, before = counted - step.skipped, 1 - first.skipped
        if step.loss is not None and first.loss is not None and trained > before:
            # A skipped iteration has no loss: Megatron adds nothing for it.
            loss = (step.loss * trained - first.loss * before) / (trained - before)
        return replace(step, seconds=max(0.0, seconds), loss=loss, skipped=step.skipped - first.skipped)


def last_lines(log: Path, count: int = 15) -> list[str]:
    """Return the last informative lines: without blank lines, progress lines and torchrun's own report.

    Of tracebacks only the errors are left, without the frames: the ranks that a lost one leaves behind print these too.
    """
    lines = [line.rstrip() for line in _tail(log).splitlines()]
    report = next((index for index, line in enumerate(lines) if _TORCHRUN.match(line)), len(lines))
    said = [line for line in lines[:report] if line and not set(line) <= set("*=-") and parse_step(line) is None]
    return list(_without_frames(said or [line for line in lines if line]))[-count:]


def _without_frames(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        if _TRACEBACK in line:  # Megatron logs some of them as one line
            inside = True
        elif not (inside and line.startswith(" ")):
            yield line


@dataclass(frozen=True, kw_only=True)
class RankFailure:
    """The rank that ended first.

    Attributes:
        rank: The local rank.
        code: The exit code, or ``-9`` if signal 9 ended it.
    """

    rank: int
    code: int

    def __str__(self) -> str:
        if self.code >= 0:
            return f"rank {self.rank} ended with exit code {self.code}"
        why = " (SIGKILL, usually because memory ran out)" if self.code == -signal.SIGKILL else ""
        return f"rank {self.rank} was ended by signal {-self.code}{why}"


def failed_rank(log: Path) -> RankFailure | None:
    """Return the first failed rank from torchrun's report at the end of the log; None if no rank has failed."""
    match = _RANK.search(_tail(log))
    return RankFailure(rank=int(match[2]), code=int(match[1])) if match else None


@dataclass(frozen=True, kw_only=True)
class LeftWord:
    """The reason that the first failed rank left (``training/failure_word.py``).

    Attributes:
        code: Its exit code.
        who: The rank and its error, in words.
        text: The error's own text.
    """

    code: int
    who: str
    text: str


def left_word(file: Path) -> LeftWord | None:
    """Read the reason that a failed rank left; None if there is none."""
    try:
        match = _WORD.match(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    if match is None:
        return None
    code, who, kind, text = match.groups()
    return LeftWord(code=int(code), who=f"{who} ended with {kind}: {text}", text=text)


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return file.read().decode(errors="replace")
