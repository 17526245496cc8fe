"""lm-eval's tasks on an export, in a process of its own."""

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
    """Add the scores of the tasks to the results; a task that was scored alike stays.

    Args:
        export: The Hugging Face folder.
        results: Written once lm-eval has ended, with its own output beside them.
        asked: Which tasks, and how.
        task_folder: Its ``task_folder``, absolute. With it nothing is fetched: its tasks' data are local.
        say: Told what goes on.

    Raises:
        RefusedError: lm-eval is not installed, or the export has no tokenizer that transformers reads.
        LrpsError: lm-eval fails, with its own words.
        StorageError: the disk refuses.
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
    """Each task's result as ``results.json`` has it, and all that lm-eval said.

    Raises:
        RefusedError: lm-eval is not installed, or the export has no tokenizer that transformers reads.
        LrpsError: lm-eval fails, with its own words.
    """
    _require(asked.backend)
    model = {"pretrained": str(export.absolute()), "tokenizer": str(_tokenizer(export)), "trust_remote_code": False}
    if asked.backend == "hf" and not gpu:
        model["dtype"] = "float32"
    if asked.backend == "hf" and gpu:
        model["parallelize"] = True  # spread over the GPUs there are
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
        for _ in python_lines(
            ["-m", "lm_eval", "run", "--config", str(file)], given="", env=env, failed="lm-eval failed"
        ):
            pass
        found = _newest(Path(scratch))
    scores = found["results"]
    for task in tasks:
        if task not in scores:
            raise LrpsError(f"lm-eval gave no score for {task}; it gave {', '.join(scores)}.", "name those instead.")
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
    """Whether this machine has one, without importing torch."""
    return shutil.which("nvidia-smi") is not None


def settings_of(asked: Evaluation) -> dict[str, Any]:
    """What must be the same for two scores of a task to be compared."""
    return {"few_shot": asked.few_shot, "limit": asked.limit, "backend": asked.backend}


def metrics_of(scores: Mapping[str, Any]) -> dict[str, float]:
    """lm-eval's ``{"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": ...}`` as ``{"acc": 0.5, "acc_stderr": 0.1}``.

    A metric of a named filter keeps it: ``exact_match,strict-match``.
    """
    return {
        key.removesuffix(",none"): float(value)
        for key, value in scores.items()
        if "," in key and type(value) in (int, float) and math.isfinite(value)
    }


def _require(backend: str) -> None:
    for package, fix in (("lm_eval", "pip install 'megatron-lrps[eval]'"), ("vllm", "pip install vllm")):
        if package == "vllm" and backend != "vllm":
            continue
        try:
            version(package)
        except PackageNotFoundError:
            raise RefusedError(f"{package} is not installed, and tasks need it.", f"{fix}.") from None


def _tokenizer(export: Path) -> Path:
    for place in (export, export / "tokenizer"):
        if (place / "tokenizer_config.json").is_file():
            return place.absolute()
    raise RefusedError(
        f"{export} has no tokenizer that transformers reads; its README.md says why.", "evaluate without tasks."
    )


def _newest(folder: Path) -> dict[str, Any]:
    files = sorted(folder.rglob("results_*.json"), key=lambda file: file.stat().st_mtime_ns)
    found = read_json(files[-1]) if files else None
    if found is None or not isinstance(found.get("results"), dict):
        raise LrpsError("lm-eval left no results.", "run it by hand to see why: python -m lm_eval run --help.")
    return found
