"""An import through Megatron-Bridge, whose conversion a stand-in does here: everything around it is real."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lrps
from convert.bridge_stand_in import install
from convert.hugging_face import save_model
from safetensors.torch import load_file, save_file

from megatron_lrps.convert import engines
from megatron_lrps.convert.bridge_import import engine_for, import_by_bridge
from megatron_lrps.convert.bridge_to_megatron import refuse_other_weights
from megatron_lrps.convert.checked_import import import_from_hugging_face
from megatron_lrps.convert.engines import Engine
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.convert.weight_files import read_folder
from megatron_lrps.errors import RefusedError


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables by which a process finds Megatron-Bridge."""
    return {"PYTHONPATH": install(tmp_path_factory.mktemp("bridge"))}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Hugging Face model."""
    return save_model(tmp_path_factory.mktemp("model"), "llama")


def test_an_import_by_bridge_is_that_of_megatron_lrps(
    source: Path, there: dict[str, str], tmp_path: Path, lrps: Lrps
) -> None:
    code, said, err = lrps("import", source, "--output", tmp_path / "bridge", "--engine", "bridge", env=there)
    assert code == 0, err
    assert "a LlamaForCausalLM, converted by Megatron-Bridge 0.6.2, " in said
    assert "Logits differ by at most" in said
    own = import_from_hugging_face(source, tmp_path / "lrps", plan=None, check=False, say=lambda line: None)
    lines = said.partition("under `megatron:`\n")[2].splitlines()[: len(own.lines)]
    assert {line.strip() for line in lines} == {line.replace("/lrps", "/bridge") for line in own.lines}
    assert (tmp_path / "bridge" / "latest_checkpointed_iteration.txt").read_text() == "release"
    one, other = (open_checkpoint(tmp_path / each / "release") for each in ("bridge", "lrps"))
    assert one.tensors.keys() == other.tensors.keys()
    assert one.states.keys() == other.states.keys()
    for key, stored in one.tensors.items():
        assert (stored.shape, stored.dtype) == (other.tensors[key].shape, other.tensors[key].dtype)
        parts = [(n,) for n in range(stored.shape[0])] if key.startswith("decoder.layers.") else [()]
        for index in parts:
            rows = 0, stored.shape[len(index)]
            assert torch.equal(one.read(key, index, *rows), other.read(key, index, *rows)), key
    assert one.args.items() >= {name: value for name, value in other.args.items() if value is not None}.items()


def test_what_bridge_passes_over_is_refused_and_nothing_is_left(
    source: Path, there: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", there["PYTHONPATH"])

    def refused(folder: Path, says: str, **options: Any) -> None:
        with pytest.raises(RefusedError, match=says):
            import_by_bridge(folder, tmp_path / "out", **{"plan": None, "check": None, "say": print, **options})
        assert not list(tmp_path.glob("*out*"))

    lost = shutil.copytree(source, tmp_path / "lost")
    weights = load_file(source / "model.safetensors")
    del weights["model.layers.1.mlp.gate_proj.weight"]
    save_file(weights, lost / "model.safetensors")
    refused(lost, "no values of Megatron's decoder.layers.mlp.linear_fc1.weight", check=False)
    # The stand-in reads no linear scaling, as Bridge 0.6.2 reads no partial_rotary_factor of transformers 5's Nemotron:
    # every weight is right, and the logits are not.
    scaled = save_model(tmp_path / "scaled", "llama-linear")
    refused(scaled, "its logits differ from Megatron's by")
    quantized = shutil.copytree(source, tmp_path / "quantized")
    config = json.loads((source / "config.json").read_text())
    (quantized / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    refused(quantized, "has a quantization_config")


def test_bridge_is_chosen_for_a_family_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def chosen(kind: str, asked: Engine | None = None, *, installed: bool = True) -> str:
        monkeypatch.setattr(engines, "has_bridge", lambda: installed)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        return engine_for(tmp_path, asked, say=said.append)

    assert chosen("llama") == chosen("nemotron", "lrps") == chosen("nemotron", installed=False) == "lrps"
    assert not said
    assert chosen("llama", "bridge") == "bridge"
    assert chosen("nemotron") == chosen("granite") == "bridge"
    assert "because Megatron-LRPS imports no model_type 'nemotron'" in said[0]
    with pytest.raises(RefusedError, match="Megatron-Bridge is not installed"):
        chosen("nemotron", "bridge", installed=False)


def test_bridge_must_export_what_it_has_read(tmp_path: Path) -> None:
    embedding = torch.rand(6, 4)
    values = {"embed.weight": embedding, "head.bias": torch.rand(3)}

    def compare(exported: dict[str, torch.Tensor], *, tied: bool = False, **beside: torch.Tensor) -> None:
        held = {**values, **{name.replace("_weight", ".weight"): value for name, value in beside.items()}}
        save_file(held, tmp_path / "model.safetensors")
        found = read_folder(tmp_path)
        refuse_other_weights(exported.items(), found, tmp_path, embedding=embedding if tied else None)

    compare(values)
    compare({**values, "lm_head.weight": embedding}, tied=True)
    compare(values, tied=True, lm_head_weight=embedding.clone())
    for exported, options, says in (
        ({"embed.weight": embedding}, {}, "holds 'head.bias', which Megatron-Bridge does not read"),
        ({**values, "more": embedding}, {}, "does not hold 'more', which Megatron-Bridge exports of it"),
        ({**values, "head.bias": values["head.bias"].bfloat16()}, {}, "'head.bias' comes out of Megatron-Bridge with"),
        ({**values, "head.bias": torch.rand(4)}, {}, "'head.bias' comes out of Megatron-Bridge with other"),
        (values, {"tied": True, "lm_head_weight": embedding + 1}, "'lm_head.weight' comes out of Megatron-Bridge"),
    ):
        with pytest.raises(RefusedError, match=says):
            compare(exported, **options)  # type: ignore[arg-type]
