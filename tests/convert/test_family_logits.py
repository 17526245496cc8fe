"""Every family's logits at three lengths: Megatron's from an import, transformers' from the original, apart.

Each library runs in a process of its own, so that neither can lend the other a setting.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convert.hugging_face import CONFIGS, POSITIONS, VOCAB, save_model
from convert.models import LLAMA_MODEL

from megatron_lrps.convert.helper_process import OFFLINE, ON_CPU
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.convert.logits_check import check_copy, compare_logits
from megatron_lrps.convert.model_arguments import args_of
from megatron_lrps.convert.probe import probe_of
from megatron_lrps.errors import RefusedError

LENGTHS = (12, 40, POSITIONS)
"""Within the window of 16, past it, and at the last position."""
MEGATRON = """
import json, sys
from pathlib import Path
import numpy as np, torch
from megatron_lrps.convert.megatron_logits import load_model, logits_of
asked = json.load(sys.stdin)
with torch.no_grad():
    for name in asked["names"]:
        model = load_model(Path(name) / "imported" / "release")
        logits = [logits_of(model, torch.tensor(batch))[..., : asked["vocab"]].numpy() for batch in asked["batches"]]
        np.savez(Path(name) / "megatron.npz", *logits)
"""
TRANSFORMERS = """
import json, sys
from pathlib import Path
import numpy as np, torch
from megatron_lrps.convert.transformers_logits import load_model
asked = json.load(sys.stdin)
with torch.no_grad():
    for name in asked["names"]:
        model, _ = load_model(f"{name}/source")
        np.savez(Path(name) / "transformers.npz", *[model(torch.tensor(batch)).logits for batch in asked["batches"]])
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each model of ``CONFIGS``: source, import, and the logits of both libraries."""
    folder = tmp_path_factory.mktemp("families")
    for name in CONFIGS:
        write_import(plan_import(save_model(folder / name / "source", name)), folder / name / "imported")
    drawn = np.random.default_rng(7)
    batches = [drawn.integers(0, VOCAB, (2, length)).tolist() for length in LENGTHS]
    asked: dict[str, Any] = {"names": [str(folder / name) for name in CONFIGS], "batches": batches, "vocab": VOCAB}
    for script in (MEGATRON, TRANSFORMERS):
        env = {**os.environ, **OFFLINE, **ON_CPU}
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_megatron_and_transformers_compute_the_same_logits(name: str, computed: Path) -> None:
    with np.load(computed / name / "megatron.npz") as ours, np.load(computed / name / "transformers.npz") as theirs:
        for number, length in enumerate(LENGTHS):
            one, other = ours[f"arr_{number}"], theirs[f"arr_{number}"]
            assert one.shape == other.shape == (2, length, VOCAB)
            difference = float(np.abs(one - other).max())
            print(f"{name} at {length}: {difference:.2g} of {np.abs(one).max():.2g}")
            assert difference < 4e-6 * np.abs(one).max()


def test_a_failed_check_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    source = save_model(tmp_path / "source", "mistral")
    planned = plan_import(source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "sliding_window": 15}))  # after it was read
    said: list[str] = []

    def verify(hidden: Path) -> None:
        checked = hidden / "release"
        size = {"vocab": VOCAB, "elements": planned.elements}
        check_copy(None, checked, source, args_of(planned.model), **size, name=tmp_path / "imported", say=said.append)

    with pytest.raises(
        RefusedError, match=r"imported: its logits differ from Megatron's by .* at 64 tokens, but round"
    ):
        write_import(planned, tmp_path / "imported", verify=verify)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]
    assert said == ["comparing logits at 64 tokens (--no-check leaves it out)"]


def test_the_tolerance_grows_with_the_logits_and_not_with_a_difference(computed: Path) -> None:
    model = plan_import(computed / "llama" / "source").model
    probe = probe_of(args_of(model), vocab=VOCAB, elements=1000)
    found = compare_logits(
        computed / "llama" / "imported" / "release", computed / "llama" / "source", probe, dtype=None
    )
    assert found.difference < found.tolerance / 3
    assert found.tolerance < 1e-3
    assert found.longest == POSITIONS


def test_a_check_that_cannot_be_done_is_said_and_not_done() -> None:
    said: list[str] = []
    args = {**args_of(LLAMA_MODEL), "hidden_size": 2**20}
    nowhere = Path("nowhere")
    size = {"vocab": VOCAB, "elements": 10**15}
    assert check_copy(None, nowhere, nowhere, args, **size, name=nowhere, say=said.append) is None
    assert said[0].startswith("logits are not compared: the model needs 4,09")
    assert check_copy(False, nowhere, nowhere, args, **size, name=nowhere, say=said.append) is None
    assert len(said) == 1
