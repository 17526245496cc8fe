"""The plans and commands that README, docs/ and examples/ show, and what a reader has beside them."""

import ast
import json
import re
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "slurm/README.md"])

SIZES: dict[str, Any] = {
    "sequence_length": 32,
    "global_batch_size": 4,
    "warmup_iters": 1,
    "vocab_size": 512,
    "num-layers": 2,
    "hidden-size": 64,
    "ffn-hidden-size": 128,
    "num-attention-heads": 4,
    "num-query-groups": 2,
    "max-position-embeddings": 32,
    "micro-batch-size": 2,
    "tokens": 1000,
    "limit": 4,
}
"""The one rule by which a page's plan is shrunk: these sizes, versions of 8 iterations, and one process on a CPU."""
ITERATIONS = 8


class Shown(NamedTuple):
    """A plan that a page shows."""

    name: str
    text: str


def plans() -> list[Shown]:
    """Every whole plan of the pages and examples, studies left out."""
    found = [
        Shown(f"{page.relative_to(ROOT)}:{number}", block)
        for page in PAGES
        for number, block in enumerate(blocks(page, "yaml"), 1)
        if yaml.safe_load(block).keys() >= {"campaign", "versions"}
    ]
    found += [Shown(f"examples/{file.name}", file.read_text()) for file in sorted((ROOT / "examples").glob("*.yaml"))]
    return found


def blocks(page: Path, language: str) -> list[str]:
    """The page's fenced blocks of a language."""
    return [block for kind, block in fenced(page) if kind == language]


def fenced(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the page's fenced blocks, in its order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Every command line of `lrps` that the page shows, in a block or in a sentence, without `lrps` itself."""
    text = page.read_text()
    shown = [line for _, block in fenced(page) for line in block.splitlines() if re.match(r"(\.venv/bin/)?lrps ", line)]
    shown += re.findall(r"(?<!`)`(?:\.venv/bin/)?lrps [^`\n]+`(?!`)", text)
    return [line.strip("`").partition("#")[0].split()[1:] for line in shown]


def shrunk(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan at a size that a test can train: ``SIZES`` in place of its own, on a CPU."""
    small: dict[str, Any] = _sized(plan)
    for version in small["versions"]:
        for size in ("samples", "tokens"):
            version.pop(size, None)
        version["iters"] = ITERATIONS
    small["launch"] = {"device": "cpu"}
    return small


def _sized(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: SIZES[key] if key in SIZES else _sized(each) for key, each in value.items()}
    return [_sized(each) for each in value] if isinstance(value, list) else value


def lay_out(plan: dict[str, Any], folder: Path) -> None:
    """Write the raw text that a plan's ``sources`` name: other documents for each, of the kind that its name says."""
    texts = documents()
    for version in plan["versions"]:
        for source in version.get("sources", {}).values():
            keys = source if isinstance(source, dict) else {"files": source}
            for pattern in [keys["files"]] if isinstance(keys["files"], str) else keys["files"]:
                _write(folder / pattern.replace("**", "part").replace("*", "part"), keys, list(islice(texts, 40)))


def documents() -> Iterator[str]:
    """Real text, the same on one machine: the docstrings of Python's standard library."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) > 100:
                    yield text


def _write(file: Path, source: dict[str, Any], texts: list[str]) -> None:
    kind = source.get("format") or {".txt": "text", ".parquet": "parquet"}.get(file.suffix, "jsonl")
    if not file.suffix:  # a folder
        file /= {"jsonl": "part.jsonl", "text": "part.txt", "parquet": "part.parquet"}[kind]
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({source.get("field", "text"): texts}), file)
        return
    if kind == "text":  # as Windows writes it
        content = "".join(f"{' '.join(text.split())}\r\n" for text in texts).encode()
    else:
        content = "".join(json.dumps({source.get("field", "text"): text}) + "\n" for text in texts).encode()
    if file.suffix == ".zst":
        import zstandard

        content = zstandard.compress(content)
    elif file.suffix == ".gz":
        import gzip

        content = gzip.compress(content)
    file.write_bytes(content)
