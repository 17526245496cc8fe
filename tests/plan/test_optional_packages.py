"""Flags of Megatron whose package is not there."""

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.optional_packages import refuse_missing_packages, wanted_packages
from tests.plan.plans import plan_of


@pytest.mark.parametrize("optimizer", ["muon", "dist_muon", "lion", "soap"])
def test_an_optimizer_that_megatron_does_not_bring_is_named(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RefusedError, match=r"megatron\.optimizer is given, and its package emerging-optimizers"):
        refuse_missing_packages(plan_of(megatron={"optimizer": optimizer}), "node7")


def test_what_needs_none_wants_none() -> None:
    assert not wanted_packages(plan_of(megatron={"optimizer": "adam", "enable-ft-package": False}))
    instances = "num-distributed-optimizer-instances"
    assert not wanted_packages(plan_of(megatron={instances: 1}))
    assert wanted_packages(plan_of(megatron={instances: 2})) == {f"megatron.{instances}": ("einops", "einops")}
    assert list(wanted_packages(plan_of(megatron={"enable-ft-package": True}))) == ["megatron.enable-ft-package"]
