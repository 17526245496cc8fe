"""Campaigns with raw text, and `lrps prepare` on them."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.data.prepare.encoders import TokenizerSpec, spec_of
from megatron_lrps.data.prepare.find import find_sources
from megatron_lrps.data.prepare.job import Reporter, prepare_sources
from megatron_lrps.data.prepare.prepared_record import Prepared
from megatron_lrps.plan import Plan, load_plan
from megatron_lrps.plan.keys.tokenizers import Tokenizer

SAID: list[str] = []


def write_plan(folder: Path, tokenizer: dict[str, Any], sources: dict[str, Any], **version: Any) -> Path:
    """A plan of one version whose training indexes are the sources' prefixes."""
    plan = {
        "campaign": "c",
        "save": "run",
        "sequence_length": 16,
        "global_batch_size": 2,
        "versions": [
            {"name": "v1", "iters": 4, "train": [[1.0, key] for key in sources], "sources": sources, **version}
        ],
        "tokenizer": tokenizer,
        "megatron": {"num-layers": 1, "hidden-size": 8, "num-attention-heads": 1},
    }
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(plan))
    return file


_specs: dict[Tokenizer | None, TokenizerSpec] = {}


def _spec(plan: Plan) -> TokenizerSpec:
    """``spec_of``; once for each tokenizer, since transformers takes seconds to read a folder."""
    if plan.tokenizer not in _specs:
        _specs[plan.tokenizer] = spec_of(plan)
    return _specs[plan.tokenizer]


def prepare(plan_file: Path, *, workers: int = 1, force: bool = False, shard_bytes: int = 2**28) -> list[Prepared]:
    """Run in this process, with worker processes; what it says goes to ``SAID``."""
    plan = load_plan(plan_file)
    SAID.clear()
    reporter = Reporter(begin=lambda size: None, advance=lambda text, tokens: None, say=SAID.append)
    sources = find_sources(plan)
    return prepare_sources(
        sources, _spec(plan), workers=workers, force=force, reporter=reporter, shard_bytes=shard_bytes
    )


def command(plan_file: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`lrps prepare` as a process."""
    line = [sys.executable, "-m", "megatron_lrps.cli", "prepare", str(plan_file), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)


def write_jsonl(file: Path, texts: Iterable[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"id": 1, "text": text}, ensure_ascii=False) + "\n" for text in texts))
    return file


def pair(prefix: Path) -> tuple[bytes, bytes]:
    """Content of both files."""
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


def as_megatrons_tool(plan_file: Path, jsonl: Path, prefix: Path) -> tuple[bytes, bytes]:
    """What Megatron-LM's tools/preprocess_data.py --append-eod does with a file, by Megatron's own classes."""
    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

    from tests.data.prepare.megatron import megatron_tokenizer

    tokenizer = megatron_tokenizer(load_plan(plan_file))
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=DType.optimal_dtype(tokenizer.vocab_size))
    with jsonl.open(encoding="utf-8") as lines:
        for line in lines:
            ids = tokenizer.tokenize(json.loads(line)["text"])
            if len(ids) > 0:
                builder.add_document([*ids, tokenizer.eod], [len(ids) + 1])
            else:
                builder.add_document([], [])
    builder.finalize(f"{prefix}.idx")
    return pair(prefix)


def left_in(folder: Path) -> list[str]:
    """Names of what is in a folder, hidden things too."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in folder.iterdir())
    return []
