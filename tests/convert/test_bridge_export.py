"""An export through Megatron-Bridge, whose conversion a stand-in does here: everything around it is real."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lrps
from convert.bridge_stand_in import install
from convert.hugging_face import VOCAB, save_model
from safetensors.torch import load_file

from megatron_lrps.convert import huggingface_import
from megatron_lrps.convert.huggingface_import import plan_import, write_import

ABSENT = {"PYTHONPATH": ""}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Hugging Face model."""
    return save_model(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables by which a process finds Megatron-Bridge."""
    return {"PYTHONPATH": install(tmp_path_factory.mktemp("bridge"))}


@pytest.fixture
def reference(source: Path, tmp_path: Path) -> Path:
    """A folder with the model's config.json alone."""
    folder = tmp_path / "reference"
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    return folder


def change(folder: Path, **keys: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def test_a_checkpoint_is_exported_by_bridge_and_its_logits_are_compared(
    saved: Path, source: Path, reference: Path, there: dict[str, str], tmp_path: Path, lrps: Lrps
) -> None:
    out = tmp_path / "out"
    command = ["export", "--checkpoint", saved, "--output", out, "--vocab-size", VOCAB, "--shard-gb", "0.001"]
    command += ["--engine", "bridge", "--reference", reference]
    change(reference, rms_norm_eps=1e-5, tie_word_embeddings=True)
    code, _, err = lrps(*command, env=there)
    assert code == 78
    assert "--norm-epsilon (layernorm_epsilon) is 1e-06" in err
    assert "config.json has 1e-05" in err
    assert "--untie-embeddings-and-output-weights is True" in err
    assert not list(tmp_path.glob("*out*"))
    shutil.copy(source / "config.json", reference)
    code, said, err = lrps(*command, "--json", env=there)
    assert code == 0, err
    facts = json.loads(said)
    assert facts["engine"] == "bridge"
    assert facts["check"]["difference"] < facts["check"]["tolerance"]
    assert facts["weights"]["files"] == 2
    index = json.loads((out / "model.safetensors.index.json").read_text())
    written = {name: load_file(out / file)[name] for name, file in index["weight_map"].items()}
    before = load_file(source / "model.safetensors")
    assert written.keys() == before.keys()
    assert all(torch.equal(written[name], before[name]) for name in before)
    config = json.loads((out / "config.json").read_text())
    assert (config["bos_token_id"], config["torch_dtype"]) == (None, "float32")
    record = json.loads((out / "lrps.json").read_text())
    assert (record["engine"], record["bridge"]) == ("bridge", "0.6.2")
    assert "converted by Megatron-Bridge 0.6.2" in (out / "README.md").read_text()
    code, said, _ = lrps(*command, env=there)
    assert code == 0
    assert "was there already" in said


def test_bridge_is_chosen_for_its_own_checkpoint_and_transformers_loads_the_export(
    source: Path, reference: Path, there: dict[str, str], tmp_path: Path, lrps: Lrps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_import, "args_of", lambda model: {})
    saved = write_import(plan_import(source), tmp_path / "of-bridge").folder / "release"
    config = json.loads((source / "config.json").read_text())
    (saved / "run_config.yaml").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    out = tmp_path / "out"
    command = ["export", "--checkpoint", saved, "--output", out, "--vocab-size", VOCAB]
    code, _, err = lrps(*command, env=there)
    assert code == 78
    assert "so Megatron-Bridge has saved it. Fix: give --reference DIR" in err
    command += ["--reference", reference, "--dtype", "bf16"]
    code, _, err = lrps(*command, "--check", env=there)
    assert code == 78
    assert "--check compares the logits of Megatron-LRPS's own families alone" in err
    code, _, err = lrps(*command, env=there)
    assert code == 78
    assert "--norm-epsilon (layernorm_epsilon) is 1e-05" in err or "layernorm_epsilon is 1e-05" in err
    (saved / "run_config.yaml").write_text(json.dumps(config))
    code, _, err = lrps(*command, env=there)
    assert code == 0, err
    assert "Megatron-Bridge exports it, because Megatron-Bridge has saved it" in err
    assert "transformers loads the export; logits are not compared" in err
    weights = load_file(out / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_what_bridge_lacks_is_named(saved: Path, source: Path, reference: Path, tmp_path: Path, lrps: Lrps) -> None:
    base = ["export", "--checkpoint", saved, "--output", tmp_path / "out", "--vocab-size", VOCAB]
    command = [*base, "--engine", "bridge", "--reference", reference]
    old = {"PYTHONPATH": install(tmp_path / "old", "0.3.0")}
    odd = {"PYTHONPATH": install(tmp_path / "odd")}
    file = tmp_path / "odd" / "megatron" / "bridge" / "training" / "model_load_save.py"
    file.write_text(f"{file.read_text()}def temporary_distributed_context(device): ...\n")
    for flags, env, says in (
        ([*base[:1], "--engine", "nemo"], ABSENT, "--engine nemo is unknown. Fix: give one of lrps, bridge"),
        ([*base, "--engine", "bridge"], ABSENT, "--engine bridge needs --reference"),
        ([*command, "--family", "llama"], ABSENT, "--family llama does not apply to --engine bridge"),
        ([*base, "--format", "torch", "--reference", reference], ABSENT, "does not apply to --format torch"),
        (command, ABSENT, "Megatron-Bridge is not installed. Fix: run this in a NeMo container"),
        (command, old, "megatron-bridge is 0.3.0, and 0.4 or later is needed"),
        (command, odd, "temporary_distributed_context of megatron-bridge 0.6.2 takes (device)"),
    ):
        code, _, err = lrps(*flags, env=env)
        assert code == 78, err
        assert says in err
    change(reference, vocab_size=VOCAB + 1)
    code, _, err = lrps(*command, env=odd)
    assert code == 78
    assert f"config.json has vocab_size {VOCAB + 1}, but the tokenizer has {VOCAB} tokens" in err
    assert not list(tmp_path.glob("*out*"))
