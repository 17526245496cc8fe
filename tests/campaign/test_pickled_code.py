"""A checkpoint that would run code is refused, and nothing in it is executed."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import DefaultSavePlanner
from torch.distributed.checkpoint import save as save_checkpoint

from megatron_lrps.campaign.pickled_code import refuse_code, refuse_code_in_states
from megatron_lrps.errors import RefusedError


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def test_torchs_own_records_pass(tmp_path: Path) -> None:
    state = {"weight": torch.ones(4, dtype=torch.bfloat16), "moment": torch.ones(3), "step": 7, "name": "x"}
    save_checkpoint(state, checkpoint_id=tmp_path, no_dist=True)
    refuse_code(tmp_path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, exec, torch.load])
def test_a_call_is_refused_and_not_made(function: Any, protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    for hidden in (Call(function, argument), {"a": [Call(function, argument)]}):
        (tmp_path / ".metadata").write_bytes(pickle.dumps(hidden, protocol))
        with pytest.raises(RefusedError, match="which no checkpoint needs"):
            refuse_code(tmp_path)
    assert not trace.exists()


def test_a_name_that_leads_on_from_a_known_one_is_refused(tmp_path: Path) -> None:
    # Protocol 4 takes dotted names: metadata.os.system would be found in a module that is itself harmless.
    hostile = b"\x80\x04\x8c\x27torch.distributed.checkpoint.metadata\x8c\x09os.system\x93\x8c\x04true\x85R."
    (tmp_path / ".metadata").write_bytes(hostile.replace(b"\x8c\x27", b"\x8c\x25"))
    with pytest.raises(RefusedError, match=r"metadata\.os\.system"):
        refuse_code(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04.", pickle.dumps([1] * 100)[:-20]])
def test_what_is_no_pickle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(content)
    with pytest.raises(RefusedError, match="cannot be read"):
        refuse_code(tmp_path)


class AsItIs(DefaultSavePlanner):
    """As Megatron's: what is bytes already is written as it is."""

    def transform_object(self, write_item: Any, object: Any) -> Any:
        return object


def with_state(folder: Path, pickled: bytes) -> None:
    """A checkpoint with a layer's state as Transformer Engine saves it: a pickle in a tensor of bytes."""
    state = torch.frombuffer(bytearray(pickled), dtype=torch.uint8)
    stored = io.BytesIO()
    torch.save(state, stored)
    stored.seek(0)
    save_checkpoint(
        {"decoder.layers.0.mlp.linear_fc1._extra_state/shard_0_1": stored}, checkpoint_id=folder, planner=AsItIs()
    )
    refuse_code(folder)


SCALES = {"scale_fwd": torch.ones(3), "amax_history_fwd": torch.zeros(16, 3), "extra_fp8_variables": {"eval": False}}
"""What delayed scaling keeps of a layer, but for the recipe's record."""


@pytest.fixture(params=["torch", "megatron"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a tensor's pickle calls: megatron-core replaces torch's when it is imported."""
    safe_globals = pytest.importorskip("megatron.core.safe_globals")  # it does so here, if nothing has before
    if request.param == "megatron":
        monkeypatch.setattr(torch.storage, "_load_from_bytes", safe_globals.safe_load_from_bytes)
    else:
        monkeypatch.setattr(torch.storage, "_load_from_bytes", _torchs_own)
    return torch.storage._load_from_bytes


def _torchs_own(content: bytes) -> Any:
    raise AssertionError("it is not called")


_torchs_own.__module__, _torchs_own.__qualname__ = "torch.storage", "_load_from_bytes"


def test_the_scales_of_delayed_scaling_pass(storage: Any, tmp_path: Path) -> None:
    with_state(tmp_path, pickle.dumps(SCALES))
    refuse_code_in_states(tmp_path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, torch.load])
def test_a_call_in_a_layers_state_is_refused_and_not_made(function: Any, protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    with_state(tmp_path / "checkpoint", pickle.dumps(SCALES | {"recipe": Call(function, argument)}, protocol))
    with pytest.raises(RefusedError, match=r"linear_fc1\._extra_state/shard_0_1 asks for .*which no checkpoint needs"):
        refuse_code_in_states(tmp_path / "checkpoint")
    assert not trace.exists()


def test_a_call_in_the_storage_of_a_states_tensor_is_refused_and_not_made(storage: Any, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    inner = io.BytesIO()
    torch.save(Call(os.system, f"touch {trace}"), inner)
    hostile = Call(storage, inner.getvalue())
    with_state(tmp_path / "checkpoint", pickle.dumps(SCALES | {"scale_bwd": hostile}))
    with pytest.raises(RefusedError, match=r"_extra_state/shard_0_1 cannot be read: .*Weights only load failed"):
        refuse_code_in_states(tmp_path / "checkpoint")
    assert not trace.exists()
