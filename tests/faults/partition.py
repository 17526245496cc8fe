"""A network between ranks that is cut: the run has a network namespace of its own, whose one link goes down."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping

CUT = "the network"
_UP = 'ip link set lo up && exec "$@"'


def missing() -> str:
    """Return why no network can be cut; nothing if one can."""
    absent = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if absent or os.geteuid() != 0:
        return f"it takes root and {', '.join(absent or ['a network namespace'])}"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True)
    return "network namespaces are not allowed" if tried.returncode else ""


class Partition:
    """The network of one campaign's run."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the processes are started with."""
        return {}

    @property
    def prefix(self) -> tuple[str, ...]:
        """What they are started by; all of them have this network."""
        return ("unshare", "--net", "sh", "-c", _UP, "sh")

    def arm(self, kind: str, processes: Iterable[int]) -> None:
        """Cut it, as a switch does that fails: nothing arrives any more, and nobody is told."""
        for pid in processes:
            cut = ["nsenter", f"--target={pid}", "--net", "ip", "link", "set", "lo", "down"]
            with contextlib.suppress(OSError):
                if subprocess.run(cut, capture_output=True).returncode == 0:
                    return

    def disarm(self) -> None:
        """Nothing is left: the namespace ends with its processes."""
