"""Bridge's own classes of each release at hand import a model, described and loaded by themselves.

Only Transformer Engine, and what belongs to other models, has stand-ins; see ``bridge_classes.py``.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from convert.bridge_classes import install
from convert.hugging_face import SIZES, save_model

from megatron_lrps.convert.bridge_import import import_by_bridge
from megatron_lrps.convert.checked_import import import_from_hugging_face
from megatron_lrps.errors import RefusedError
from tests.bridge.wheels import WHEELS, unpacked

pytestmark = pytest.mark.soak


def _wheel(version: str) -> Path:
    found = unpacked()
    if version not in found:
        pytest.skip(
            f"needs megatron-bridge {version}: run `make releases`, or name a folder with its wheel in {WHEELS}"
        )
    return found[version]


@pytest.mark.parametrize("version", ["0.4.2", "0.5.0", "0.6.2"])
def test_bridge_says_the_lines_and_loads_the_weights(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", install(tmp_path, _wheel(version)))
    source = save_model(tmp_path / "source", "llama")
    given: dict[str, Any] = {"plan": None, "check": None, "say": print}
    done = import_by_bridge(source, tmp_path / "imported", **given)
    own = import_from_hugging_face(source, tmp_path / "own", plan=None, check=False, say=print)
    assert {line.replace("/imported", "/own") for line in done.lines} == set(own.lines)
    assert done.compared is not None
    assert done.compared.difference <= done.compared.tolerance


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_family_of_bridges_alone_is_right_or_refused(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", install(tmp_path, _wheel("0.6.2")))
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": share}
    torch.manual_seed(1)
    config = transformers.NemotronConfig(**{**SIZES, "head_dim": 16, "norm_eps": 1e-5, "rope_parameters": rope})
    model = transformers.NemotronForCausalLM(config)
    for values in model.parameters():
        values.data += 0.05 * torch.randn_like(values)
    model.save_pretrained(tmp_path / "source")
    given: dict[str, Any] = {"plan": None, "check": None, "say": print}
    if share == 0.5:  # Bridge 0.6.2 does not find it where transformers 5 has it
        with pytest.raises(RefusedError, match="its logits differ from Megatron's by"):
            import_by_bridge(tmp_path / "source", tmp_path / "out", **given)
        assert not list(tmp_path.glob("*out*"))
        return
    done = import_by_bridge(tmp_path / "source", tmp_path / "out", **given)
    assert {"squared-relu: true", "apply-layernorm-1p: true"} <= set(done.lines)
    assert done.compared is not None
