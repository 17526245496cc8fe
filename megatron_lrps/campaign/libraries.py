"""The versions of the libraries that a path is trained with."""

import importlib.metadata

_LIBRARIES = ("megatron-lrps", "megatron-core", "megatron-bridge", "torch", "transformer-engine", "numpy")


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that the training depends on, by name."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
