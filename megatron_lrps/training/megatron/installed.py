"""The installed release of Megatron, out of those that the plugin knows."""

import importlib

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron import release_0_19
from megatron_lrps.training.megatron.names import Release

RELEASES = (release_0_19.RELEASE,)
_NEWEST = RELEASES[-1].newest


def installed_version() -> str:
    """Return the version of megatron-core; raises RefusedError if it cannot be imported."""
    try:
        return str(importlib.import_module("megatron.core.package_info").__version__)
    except ImportError as error:
        raise _not_there(error) from None


def installed_release() -> Release:
    """Return the names of the installed release.

    Raises:
        RefusedError: if Megatron cannot be imported, or is of a version that the plugin does not know.
    """
    version = installed_version()
    for release in RELEASES:
        if version.startswith(release.prefix):
            return release
    known = " and ".join(f"{release.prefix}x" for release in RELEASES)
    raise RefusedError(f"megatron-core is {version}, the hooks know {known}.", f"install {_NEWEST}.")


def import_training() -> None:
    """Import ``megatron.training``, which a wheel without its requirements cannot; raises RefusedError."""
    try:
        importlib.import_module("megatron.training.training")
    except ImportError as error:
        raise _not_there(error) from None


def _not_there(error: ImportError) -> RefusedError:
    return RefusedError(f"Megatron cannot be imported: {error}.", f"install megatron-core {_NEWEST}.")
