"""Every name of Megatron that the plugin touches is in the Megatron that is installed, with its parameters."""

import dataclasses

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron import names
from megatron_lrps.training.megatron.installed import installed_release, installed_version
from megatron_lrps.training.megatron.names import Name

INSTALLED = installed_release()
OF_RELEASE = [getattr(INSTALLED, field.name) for field in dataclasses.fields(INSTALLED) if field.type in (Name, "Name")]
SHARED = [value for value in vars(names).values() if isinstance(value, Name)]


@pytest.mark.parametrize("name", [*SHARED, *OF_RELEASE], ids=str)
def test_a_name_is_there_and_takes_its_parameters(name: Name) -> None:
    name.check(installed_version(), INSTALLED.fix)


def test_a_name_that_is_not_there_is_refused() -> None:
    for absent in (Name("megatron.training.nothing", "train"), Name("megatron.training.training", "Nobody.train")):
        with pytest.raises(RefusedError, match=rf"megatron-core 0\.19\.2 has no {absent}, which the plugin needs"):
            absent.check("0.19.2", "install it.")
