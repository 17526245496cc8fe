"""Text for benchmarks: what is installed with Python, as JSON Lines, repeated with other words so that it stays new."""

import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

WORD = re.compile(r"[A-Za-z_]{6,}")
CHANGED = 0.1
"""Share of the longer words that a repetition writes otherwise."""


def documents(repetition: int) -> Iterator[str]:
    """Python sources and documentation; from the second repetition on with some letters exchanged in some words."""
    numbers = random.Random(repetition)

    def change(word: re.Match[str]) -> str:
        text = word[0]
        if numbers.random() >= CHANGED:
            return text
        place = numbers.randrange(len(text) - 1)
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]

    for name in ("purelib", "stdlib"):
        root = Path(sysconfig.get_paths()[name])
        for file in sorted(path for end in ("py", "md", "rst", "txt") for path in root.rglob(f"*.{end}")):
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if 200 < len(text) < 200_000:
                yield WORD.sub(change, text) if repetition else text


def write_jsonl(file: Path, size: int) -> int:
    """Documents until the file has ``size`` bytes, cut in 2000 to 20,000 characters as web pages are; its bytes."""
    numbers = random.Random(0)
    written = repetition = 0
    with file.open("wb") as output:
        while True:
            for text in documents(repetition):
                begin = 0
                while begin < len(text):
                    end = begin + numbers.randrange(2_000, 20_000)
                    line = json.dumps({"text": text[begin:end]}, ensure_ascii=False).encode() + b"\n"
                    output.write(line)
                    written += len(line)
                    begin = end
                if written >= size:
                    return written
            repetition += 1
