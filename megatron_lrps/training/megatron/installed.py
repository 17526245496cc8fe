"""The installed release of Megatron, out of those that the plugin knows."""

import importlib
import re

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron import release_0_16, release_0_17, release_0_18, release_0_19, release_0_20
from megatron_lrps.training.megatron.names import Release

RELEASES = (
    release_0_16.RELEASE,
    release_0_17.RELEASE,
    release_0_18.RELEASE,
    release_0_19.RELEASE,
    release_0_20.RELEASE,
)
"""The releases that are tested, the oldest first."""
BEST = release_0_19.RELEASE.newest
"""The newest version on package indexes of the releases that are tested."""


def installed_version() -> str:
    """Return the version of megatron-core; raises RefusedError if it cannot be imported."""
    try:
        return str(importlib.import_module("megatron.core.package_info").__version__)
    except ImportError as error:
        raise _not_there(error) from None


def installed_release() -> Release:
    """Return the names of the installed release; those of the newest known one for a release that is newer.

    Raises:
        RefusedError: if Megatron cannot be imported, or is of a version that the plugin does not know.
    """
    version = installed_version()
    for release in RELEASES:
        if version.startswith(release.prefix):
            return release
    if is_newer(version):
        return RELEASES[-1]
    raise RefusedError(
        f"megatron-core is {version}, the hooks know {RELEASES[0].prefix}x to {RELEASES[-1].prefix}x.",
        f"install {BEST}.",
    )


def is_newer(version: str) -> bool:
    """Whether a version is newer than all that the plugin is tested with."""
    return _series(version) > _series(RELEASES[-1].newest)


def untested(version: str) -> str | None:
    """Return the warning that belongs to a version with which the plugin is not tested; None if it is."""
    if not is_newer(version):
        return None
    return (
        f"megatron-core {version} is newer than the releases that this version of Megatron-LRPS is tested with (to "
        f"{RELEASES[-1].prefix}x). All that it hooks is there and takes the same parameters, so it goes on; compare a "
        "branch's first losses with those of a run without it, or look for a newer megatron-lrps."
    )


def import_training() -> None:
    """Import ``megatron.training``, which a wheel without its requirements cannot; raises RefusedError."""
    try:
        importlib.import_module("megatron.training.training")
    except ImportError as error:
        raise _not_there(error) from None


def _series(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()


def _not_there(error: ImportError) -> RefusedError:
    return RefusedError(f"Megatron cannot be imported: {error}.", f"install megatron-core {BEST}.")
