"""What an export through Megatron-Bridge calls has the stand-in's signatures in each release whose wheel is at hand."""

from pathlib import Path

import pytest

from tests.bridge.test_signatures import names
from tests.bridge.wheels import WHEELS, unpacked

STAND_IN = [Path(__file__).with_name("bridge_stand_in.py")]
COMPARED = {
    "models/conversion/auto_bridge.py": (
        *("AutoBridge.from_hf_config", "AutoBridge.from_hf_pretrained", "AutoBridge.to_megatron_provider"),
        *("AutoBridge.load_hf_weights", "AutoBridge.export_hf_weights"),
    ),
    "training/model_load_save.py": ("load_model_config", "temporary_distributed_context"),
    "models/gpt_provider.py": ("GPTModelProvider.provide",),
}
"""File below ``megatron/bridge`` -> functions."""
GIVEN = ("wrap_with_ddp", "use_cpu_initialization")


@pytest.mark.parametrize("version", ["0.4.2", "0.5.0", "0.6.2"])
def test_signatures(version: str) -> None:
    if version not in (found := unpacked()):
        pytest.skip(
            f"needs megatron-bridge {version}: run `make releases`, or name a folder with its wheel in {WHEELS}"
        )
    root = found[version] / "megatron" / "bridge"
    for file, wanted in COMPARED.items():
        for each in wanted:
            here = names(STAND_IN, each)
            if version < "0.6":
                here = [name for name in here if name != "weight_dtype"]
            assert here == names([root / file], each), each
    builds = names([root / "models" / "model_provider.py"], "ModelProviderMixin.provide_distributed_model")
    assert set(GIVEN) <= set(builds)
