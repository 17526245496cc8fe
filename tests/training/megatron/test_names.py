"""Every name of Megatron that the plugin touches is in the Megatron that is installed, with its parameters."""

import dataclasses

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron import names
from megatron_lrps.training.megatron.installed import RELEASES, installed_release
from megatron_lrps.training.megatron.names import Name

OF_RELEASE = [
    getattr(RELEASES[-1], field.name) for field in dataclasses.fields(RELEASES[-1]) if field.type in (Name, "Name")
]
SHARED = [value for value in vars(names).values() if isinstance(value, Name)]


@pytest.mark.parametrize("name", [*SHARED, *OF_RELEASE], ids=str)
def test_a_name_is_there_and_takes_its_parameters(name: Name) -> None:
    name.check("0.19.2", installed_release().fix)


def test_a_name_that_is_not_there_is_refused() -> None:
    for absent in (Name("megatron.training.nothing", "train"), Name("megatron.training.training", "Nobody.train")):
        with pytest.raises(RefusedError, match=rf"megatron-core 0\.19\.2 has no {absent}, which the plugin needs"):
            absent.check("0.19.2", "install it.")
