"""The scores of an export on lm-eval's tasks. lm-eval runs in a separate process."""

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.scores import Results
from megatron_lrps.convert.helper_process import OFFLINE, python_lines
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan.keys.scoring_and_release import Evaluation
from megatron_lrps.storage.files import read_json, write_atomic


def run_tasks(
    export: Path,
    results: Results,
    asked: Evaluation,
    *,
    task_folder: Path | None,
    say: Callable[[str], None],
) -> None:
    """Add the scores of the tasks to the results. A task already scored in the same way is skipped.

    Args:
        export: The Hugging Face folder.
        results: The results so far. They are written when lm-eval has ended, with its own output beside them.
        asked: The tasks, and how to score them.
        task_folder: ``asked.task_folder``, absolute. With it nothing is downloaded, because its data are local.
        say: Called with a line for each step.

    Raises:
        RefusedError: lm-eval is not installed, or the export has no tokenizer that transformers can read.
        LrpsError: lm-eval fails; the error quotes its message.
        StorageError: the disk fails.
    """
    settings = settings_of(asked)
    todo = [task for task in asked.tasks if results.tasks.get(task, {}).get("settings") != settings]
    if not todo:
        return
    say(f"lm-eval on {', '.join(todo)}")
    scores, whole = score_tasks(export, todo, asked, task_folder=task_folder, gpu=has_gpu())
    results.tasks |= scores
    out = results.folder / "lm-eval" / f"{'-'.join(todo)[:100]}.json"
    write_atomic(out, json.dumps(whole, indent=2, default=str) + "\n")
    results.write()


def score_tasks(
    export: Path, tasks: Sequence[str], asked: Evaluation, *, task_folder: Path | None, gpu: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return each task's result as in ``results.json``, and lm-eval's whole output.

    Raises:
        RefusedError: lm-eval is not installed, or the export has no tokenizer that transformers can read.
        LrpsError: lm-eval fails; the error quotes its message.
    """
    _require(asked.backend)
    model = {"pretrained": str(export.absolute()), "tokenizer": str(_tokenizer(export)), "trust_remote_code": False}
    if asked.backend == "hf":  # spread over the GPUs there are
        model |= {"parallelize": True} if gpu else {"dtype": "float32"}
    with tempfile.TemporaryDirectory(prefix="lrps-eval-") as scratch:
        config = {
            "model": asked.backend,
            "model_args": model,
            "tasks": list(tasks),
            "batch_size": asked.batch_size,
            "device": "cuda" if gpu else "cpu",
            "output_path": scratch,
            **({"num_fewshot": asked.few_shot} if asked.few_shot is not None else {}),
            **({"limit": asked.limit} if asked.limit is not None else {}),
            **({"include_path": str(task_folder)} if task_folder else {}),
        }
        file = Path(scratch) / "config.yaml"
        file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        env = {**OFFLINE, "HF_DATASETS_OFFLINE": "1"} if task_folder else {}
        for _ in python_lines(["-m", "lm_eval", "run", "--config", str(file)], env=env, failed="lm-eval failed"):
            pass
        found = _newest(Path(scratch))
    scores = found["results"]
    for task in tasks:
        if task not in scores:
            raise LrpsError(f"lm-eval gave no score for {task}; it gave {', '.join(scores)}.", "name one of those.")
    results = {
        task: {
            "metrics": metrics_of(scores[task]),
            "settings": settings_of(asked),
            "samples": (found.get("n-samples") or {}).get(task, {}).get("effective"),
            "version": (found.get("versions") or {}).get(task),
            "lm_eval": version("lm_eval"),
        }
        for task in dict.fromkeys([*tasks, *scores])
    }
    return results, found


def has_gpu() -> bool:
    """Whether this machine has a GPU, without importing torch."""
    return shutil.which("nvidia-smi") is not None


def settings_of(asked: Evaluation) -> dict[str, Any]:
    """Return the settings that must agree for two scores of a task to be comparable."""
    return {"few_shot": asked.few_shot, "limit": asked.limit, "backend": asked.backend}


def metrics_of(scores: Mapping[str, Any]) -> dict[str, float]:
    """Map lm-eval's ``{"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": ...}`` to ``{"acc": 0.5, "acc_stderr": 0.1}``.

    A metric of a named filter keeps it: ``exact_match,strict-match``.
    """
    return {
        key.removesuffix(",none"): float(value)
        for key, value in scores.items()
        if "," in key and type(value) in (int, float) and math.isfinite(value)
    }


def _require(backend: str) -> None:
    needed = {"lm_eval": "pip install 'megatron-lrps[eval]'"}
    if backend == "vllm":
        needed["vllm"] = "pip install vllm"
    for package, fix in needed.items():
        try:
            version(package)
        except PackageNotFoundError:
            raise RefusedError(f"{package} is not installed, but tasks need it.", f"{fix}.") from None


def _tokenizer(export: Path) -> Path:
    for place in (export, export / "tokenizer"):
        if (place / "tokenizer_config.json").is_file():
            return place.absolute()
    raise RefusedError(
        f"{export} has no tokenizer that transformers can read; its README.md says why.", "evaluate it without tasks."
    )


def _newest(folder: Path) -> dict[str, Any]:
    files = sorted(folder.rglob("results_*.json"), key=lambda file: file.stat().st_mtime_ns)
    found = read_json(files[-1]) if files else None
    if found is None or not isinstance(found.get("results"), dict):
        raise LrpsError("lm-eval left no results.", "run python -m lm_eval run --help to see whether it works here.")
    return found
