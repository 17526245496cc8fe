"""Which releases of Megatron are taken, tried with a warning, or refused; and what the next one will change."""

import importlib
import inspect
import re

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron import hooks
from megatron_lrps.training.megatron.installed import RELEASES, installed_release, untested


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def pretend(version: str) -> None:
        monkeypatch.setattr("megatron.core.package_info.__version__", version)

    return pretend


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.prefix)
def test_a_known_release_is_taken_by_its_prefix(release, found) -> None:  # type: ignore[no-untyped-def]
    found(f"{release.prefix}7+abc1234")
    assert installed_release() is release
    assert untested(release.newest) is None


def test_a_newer_release_is_tried_with_the_newest_names_and_a_warning(found) -> None:  # type: ignore[no-untyped-def]
    found("0.21.0rc1")
    assert installed_release() is RELEASES[-1]
    assert "megatron-core 0.21.0rc1 is newer than the releases" in (untested("0.21.0rc1") or "")
    found("1.0.0")
    assert installed_release() is RELEASES[-1]


def test_a_newer_release_with_another_signature_is_refused(found, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from megatron.training import training

    found("0.21.0")
    monkeypatch.setattr(training, "train", lambda model, data: None)
    before = training.initialize_megatron
    with pytest.raises(RefusedError, match=r"train of megatron-core 0\.21\.0 takes \(model, data\)"):
        hooks.install()
    assert training.initialize_megatron is before


def test_an_older_release_is_refused(found) -> None:  # type: ignore[no-untyped-def]
    found("0.15.3")
    known = re.escape(f"the hooks know {RELEASES[0].prefix}x to {RELEASES[-1].prefix}x. Fix: install 0.19.")
    with pytest.raises(RefusedError, match=r"megatron-core is 0\.15\.3, " + known):
        hooks.install()


def test_megatron_still_builds_gpt_models() -> None:
    """Megatron deprecates GPTModel since 0.19 in favour of HybridModel; the plugin's own entry builds GPTModel.

    If this fails, megatron-core says something else of GPTModel, or has it no more. Read what it says. If GPTModel
    goes, write a ``gpt_0_NN.py`` whose ``PARTS`` build HybridModel (``megatron.training.models.hybrid``), with an
    attention and an MLP layer for each decoder layer. Megatron loads GPT checkpoints into it (#5792), so a campaign
    goes on; ``convert/mapping.py`` then needs the new names of the weights. Then change the sentence here.
    """
    gpt_model = importlib.import_module("megatron.core.models.gpt.gpt_model")
    source = " ".join(re.findall(r'"([^"\n]*)"', inspect.getsource(gpt_model.GPTModel.__init__)))
    assert "GPTModel IS DEPRECATED. GPTModel is only accepting critical bug fixes" in source
    assert callable(importlib.import_module("megatron.training.argument_utils").gpt_config_from_args)
