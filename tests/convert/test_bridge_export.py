"""An export through Megatron-Bridge, whose conversion a stand-in does here: everything around it is real."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Lrps
from convert.bridge_stand_in import install
from convert.hugging_face import VOCAB, save_model
from safetensors.torch import load_file

from megatron_lrps.convert import engines, huggingface_import
from megatron_lrps.convert.bridge_export import engine_for, export_by_bridge, standing_export
from megatron_lrps.convert.bridge_task import run_worker
from megatron_lrps.convert.export_source import source_of_checkpoint
from megatron_lrps.convert.huggingface_import import plan_import, write_import
from megatron_lrps.errors import RefusedError


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


def test_a_checkpoint_is_exported_by_bridge_and_its_logits_are_compared(
    saved: Path, source: Path, reference: Path, there: dict[str, str], tmp_path: Path, lrps: Lrps
) -> None:
    out = tmp_path / "out"
    command = ["export", "--checkpoint", saved, "--output", out, "--vocab-size", VOCAB, "--shard-gb", "0.001"]
    code, said, err = lrps(*command, "--engine", "bridge", "--reference", reference, "--json", env=there)
    assert code == 0, err
    facts = json.loads(said)
    assert facts["engine"] == "bridge"
    assert facts["check"]["difference"] < facts["check"]["tolerance"]
    weights = load_file(out / "model.safetensors")
    before = load_file(source / "model.safetensors")
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[name], before[name]) for name in before)
    config = json.loads((out / "config.json").read_text())
    assert (config["bos_token_id"], config["torch_dtype"]) == (None, "float32")
    record = json.loads((out / "lrps.json").read_text())
    assert (record["engine"], record["bridge"]) == ("bridge", "0.6.2")
    assert "converted by Megatron-Bridge 0.6.2" in (out / "README.md").read_text()


def test_bridge_is_chosen_for_its_own_checkpoint_and_transformers_loads_the_export(
    source: Path, reference: Path, there: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_import, "args_of", lambda model: {})  # Bridge saves none
    monkeypatch.setattr(engines, "has_bridge", lambda: True)
    monkeypatch.setenv("PYTHONPATH", there["PYTHONPATH"])
    saved = write_import(plan_import(source), tmp_path / "of-bridge").folder / "release"
    with pytest.raises(RefusedError, match="so Megatron-Bridge has saved it"):
        source_of_checkpoint(saved, tmp_path / "out", iteration=None, vocab=VOCAB)
    place = source_of_checkpoint(saved, tmp_path / "out", iteration=None, vocab=VOCAB, of_bridge=True)
    said: list[str] = []
    with pytest.raises(RefusedError, match=r"so Megatron-Bridge has saved it\. Fix: give --reference DIR"):
        engine_for(place, None, None, say=said.append)
    assert engine_for(place, None, reference, say=said.append) == "bridge"
    assert said == ["Megatron-Bridge exports it, because Megatron-Bridge has saved it"]
    with pytest.raises(RefusedError, match="--check compares logits with Megatron's on a CPU"):
        export_by_bridge(place, reference, check=True)
    config = json.loads((source / "config.json").read_text())
    (saved / "run_config.yaml").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    with pytest.raises(RefusedError, match=r"layernorm_epsilon is 1e-05, .*config\.json has 1e-06"):
        export_by_bridge(place, reference)
    assert not list(tmp_path.glob("*out*"))
    (saved / "run_config.yaml").write_text(json.dumps(config))
    done = export_by_bridge(place, reference, dtype="bf16", shard_bytes=150_000, say=said.append)
    assert done.compared is None
    assert done.written is not None
    assert "transformers loads the export; logits are not compared" in said[-1]
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) == done.written.files == 2
    written = {name: value for file in files for name, value in load_file(tmp_path / "out" / file).items()}
    before = load_file(source / "model.safetensors")
    assert all(torch.equal(written[name], before[name].bfloat16()) for name in before)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert standing_export(place) is not None
    assert standing_export(place, "bf16") is not None
    with pytest.raises(RefusedError, match="has weights of bfloat16, and float32 is asked for"):
        standing_export(place, "fp32")
    assert standing_export(replace(place, record={**place.record, "metadata_sha256": "another"})) is None


def test_what_bridge_lacks_is_named(
    saved: Path, reference: Path, tmp_path: Path, lrps: Lrps, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = ["export", "--checkpoint", saved, "--output", tmp_path / "out", "--vocab-size", VOCAB]
    command = [*base, "--engine", "bridge", "--reference", reference]
    for flags, says in (
        ([*base, "--engine", "nemo"], "--engine nemo is unknown. Fix: give one of lrps, bridge"),
        ([*command, "--family", "llama"], "--family llama does not apply to --engine bridge"),
        ([*base, "--format", "torch", "--reference", reference], "does not apply to --format torch"),
        (command, "Megatron-Bridge is not installed. Fix: run this in a NeMo container"),
    ):
        code, _, err = lrps(*flags)
        assert code == 78, err
        assert says in err
    odd = tmp_path / "odd" / "megatron" / "bridge" / "training" / "model_load_save.py"
    for folder, version, says in (
        ("old", "0.3.0", "megatron-bridge is 0.3.0, and 0.4 or later is needed"),
        ("odd", "0.6.2", "temporary_distributed_context of megatron-bridge 0.6.2 takes \\(device\\)"),
    ):
        monkeypatch.setenv("PYTHONPATH", install(tmp_path / folder, version))
        if folder == "odd":
            odd.write_text(f"{odd.read_text()}def temporary_distributed_context(device): ...\n")
        with pytest.raises(RefusedError, match=says):
            run_worker({"do": "export", "reference": str(reference)})
    file = reference / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_size": VOCAB + 1}))
    place = source_of_checkpoint(saved, tmp_path / "out", iteration=None, vocab=VOCAB)
    with pytest.raises(RefusedError, match=f"has vocab_size {VOCAB + 1}, but the tokenizer has {VOCAB} tokens"):
        export_by_bridge(place, reference)
    assert not list(tmp_path.glob("*out*"))
