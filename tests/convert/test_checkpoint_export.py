"""Any torch_dist checkpoint that carries its arguments becomes a Hugging Face folder, without a plan."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from conftest import Lrps
from convert.hugging_face import VOCAB
from safetensors.torch import load_file

from megatron_lrps.convert.export_source import source_of_checkpoint
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.version_export import export_to_megatron


def test_a_checkpoint_is_exported_and_checked_without_a_plan(saved: Path, tmp_path: Path, lrps: Lrps) -> None:
    out = tmp_path / "out"
    command = ["export", "--checkpoint", saved, "--output", out, "--vocab-size", VOCAB, "--json"]
    code, said, err = lrps(*command)
    assert code == 0, err
    facts = json.loads(said)
    assert facts["check"]["difference"] < facts["check"]["tolerance"]
    assert facts["check"]["longest"] == 64
    assert load_file(out / "model.safetensors")["model.embed_tokens.weight"].shape[0] == VOCAB
    assert json.loads((out / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert "The tokenizer is not part of this export." in (out / "README.md").read_text()
    code, _, err = lrps(*command[:-1], "--no-check", "--dtype", "bf16")
    assert code == 78
    assert "was not made from" in err


def test_a_save_folder_is_read_by_its_tracker_or_an_iteration(saved: Path, tmp_path: Path, lrps: Lrps) -> None:
    save = tmp_path / "checkpoints"
    shutil.copytree(saved, save / "iter_0000012")
    out = tmp_path / "out"
    command = ["export", "--checkpoint", save, "--output", out, "--vocab-size", VOCAB, "--no-check"]
    code, _, err = lrps(*command, "--iteration", "13")
    assert code == 78
    assert "of iteration 13; the iterations that it holds: 12." in err
    (save / "latest_checkpointed_iteration.txt").write_text("12")
    assert lrps(*command).code == 0
    assert json.loads((out / "lrps.json").read_text())["checkpoint"] == str(save / "iter_0000012")


def test_what_does_not_go_together_is_named(saved: Path, tmp_path: Path, lrps: Lrps) -> None:
    for command, says in (
        ([], "PLAN and VERSION are missing"),
        (["--checkpoint", saved], "--checkpoint needs --output"),
        (["plan.yaml", "v1", "--checkpoint", saved], "Both --checkpoint"),
        (["plan.yaml", "v1", "--vocab-size", "7"], "--vocab-size 7 does not apply to a plan"),
        (["--checkpoint", tmp_path, "--output", tmp_path / "x"], "the iterations that it holds: none"),
        (["--checkpoint", saved, "--output", tmp_path / "x"], "the number of tokens is not known. Fix: give it with"),
    ):
        code, _, err = lrps("export", *command)
        assert code == 78, err
        assert says in err


def test_a_model_of_no_family_is_copied_for_megatron_and_not_compared(saved: Path, tmp_path: Path) -> None:
    source = source_of_checkpoint(saved, tmp_path / "out", iteration=None, vocab=VOCAB)
    opened = replace(source.opened, args={**source.opened.args, "squared_relu": True})
    said: list[str] = []
    done = export_to_megatron(
        replace(source, opened=opened), "torch_dist", layout=Layout(tensor=2), check=None, say=said.append
    )
    assert done.compared is None
    assert (tmp_path / "out-tp2-pp1" / "release" / "metadata.json").exists()
    assert said[-1] == "logits are not compared: the check builds only models of the Hugging Face families"
