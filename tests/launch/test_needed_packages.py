"""Flags whose package is not here."""

import importlib.util

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch import needed_packages
from megatron_lrps.launch.needed_packages import refuse_missing_packages
from tests.plan.plans import plan_of


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package is found: which of them this machine has must not matter."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(needed_packages, "installed", lambda distribution: "0.19.2")


@pytest.mark.parametrize(
    ("flag", "value", "package"),
    [
        ("optimizer", "muon", "emerging-optimizers"),
        ("optimizer", "lion", "emerging-optimizers"),
        ("log-straggler", True, "nvidia-ml-py"),
        ("wandb-project", "pretraining", "wandb"),
    ],
)
def test_a_missing_package_is_named(flag: str, value: object, package: str) -> None:
    with pytest.raises(
        RefusedError, match=f"megatron.{flag}: {value} needs {package}, which is not installed"
    ) as found:
        refuse_missing_packages(plan_of(megatron={flag: value}))
    assert f"pip install {package}" in found.value.fix


def test_what_needs_none_passes() -> None:
    refuse_missing_packages(plan_of(megatron={"optimizer": "adam", "log-straggler": False}))


def test_a_machine_without_megatron_does_not_say_what_the_ranks_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed_packages, "installed", lambda distribution: None)
    refuse_missing_packages(plan_of(megatron={"optimizer": "muon"}))
