"""The recipes of docs/recipes.md: plans that Megatron accepts for their clusters, and the figures of their table."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.commands import answer
from tests.conftest import Lrps

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("paper-1.2b", "llama-8b", "llama-70b")
TABLE = re.findall(r"^\| `([\w.-]+)\.yaml` \| (.*) \|$", (ROOT / "docs/recipes.md").read_text(), re.MULTILINE)


def example(name: str) -> Path:
    return ROOT / "examples" / f"{name}.yaml"


def test_every_cluster_plan_of_the_examples_is_in_the_table() -> None:
    clusters = {file.stem for file in example("*").parent.glob("*.yaml") if "slurm" in file.read_text()}
    assert clusters == {name for name, _ in TABLE} == set(RECIPES)


def cells(name: str) -> list[str]:
    return dict(TABLE)[name].split(" | ")


def figures(lrps: Lrps, name: str, *options: str) -> dict[str, Any]:
    tflops = re.search(r"at (\d+) TFLOP/s", dict(TABLE)[name])
    assert tflops
    found: dict[str, Any] = json.loads(answer(lrps, "plan", example(name), "--json", "--tflops", tflops[1], *options))
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_costs_are_those_of_the_table(lrps: Lrps, name: str) -> None:
    facts = figures(lrps, name)
    model, nodes, _, _, hours, share, days = cells(name)
    assert model.split("B,")[0] == f"{facts['model']['parameters'] / 1e9:.3g}"
    slurm = yaml.safe_load(example(name).read_text())["launch"]["slurm"]
    assert nodes == f"{slurm['nodes']} x {slurm['gpus_per_node']}"
    assert hours.split(" at ")[0] == f"{facts['gpu_hours']['planned']:,.0f}"
    assert share == f"{100 * facts['cost']['lrps_share_of_ptfs']:.0f}%"
    assert days == f"{facts['gpu_hours']['days_on_gpus']:.1f}"


@pytest.mark.training
@pytest.mark.parametrize("name", RECIPES)
def test_megatron_accepts_each_with_the_memory_of_the_table(lrps: Lrps, name: str) -> None:
    layout = figures(lrps, name, "--check-layout")["layout"]
    _, nodes, groups, memory, *_ = cells(name)
    sizes = {key: int(size) for key, size in re.findall(r"([A-Z]+)(\d+)", groups)}
    for path in layout["paths"].values():
        assert path["layout"] == {"VPP": 1, "CP": 1, "EP": 1} | sizes
        held, passing = (path["memory"][part] / 1e9 for part in ("weights_and_optimizer", "activations"))
        assert memory == f"{held:.1f} + {passing:.1f} = {held + passing:.1f}"
        assert held + passing < 0.9 * layout["gpu_bytes"] / 1e9
        assert path["not_built"] is None
        # What only Transformer Engine runs was accepted and not tried; the docs say the same.
        docs = (ROOT / "docs/recipes.md").read_text()
        assert all(f"`{flag}`" in docs for flag in path["unproven"])
        if layout["transformer_engine"] is False:
            assert ("--fp8-format" in path["unproven"]) == ("FP8" in cells(name)[0])
    count, per_node = map(int, nodes.split(" x "))
    assert layout["world_size"] == count * per_node


def test_the_parts_of_a_stage_add_up_to_the_models_parameters(lrps: Lrps) -> None:
    # 8B: 32 layers of attention (32 heads, 8 groups of 128), a gated MLP of 14336 and two norms; two embeddings, a norm
    hidden, ffn, vocabulary = 4096, 14336, 128256
    layer = hidden * (hidden + 2 * 8 * 128) + hidden * hidden + 3 * hidden * ffn + 2 * hidden
    facts = figures(lrps, "llama-8b")
    assert facts["model"]["parameters"] == 32 * layer + 2 * vocabulary * hidden + hidden == 8_030_261_248
