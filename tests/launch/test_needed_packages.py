"""Flags whose package is not here."""

import importlib.util

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.needed_packages import refuse_missing_packages


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package is found: which of them this machine has must not matter."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("flag", "value", "package"),
    [
        ("optimizer", "muon", "emerging-optimizers"),
        ("optimizer", "lion", "emerging-optimizers"),
        ("log-straggler", True, "nvidia-ml-py"),
    ],
)
def test_a_missing_package_is_named(flag: str, value: object, package: str) -> None:
    with pytest.raises(
        RefusedError, match=f"megatron.{flag}: {value} needs {package}, which is not installed"
    ) as found:
        refuse_missing_packages({flag: value})
    assert f"pip install {package}" in found.value.fix


def test_what_needs_none_passes() -> None:
    refuse_missing_packages({"optimizer": "adam", "log-straggler": False})
