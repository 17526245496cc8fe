"""Alerts that other processes raise for a path, as ``lrps run`` does on a stall: the trackers hear of them here.

A rank that hangs cannot judge itself, and a tracker's run has one writer. So the judge writes the alert into the path's
history, and a thread of the rank that has the trackers passes it on. If the ranks are killed before that, the path's
next start does.
"""

import contextlib
import json
import threading
from collections.abc import Callable

from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.outside_alert import KINDS
from megatron_lrps.errors import StorageError
from megatron_lrps.storage.files import read_json, write_atomic

READ = "tracked-alerts.json"
"""The file in a path's folder with the bytes of its history that have been passed on."""
_LOOK_S = 5.0


class OutsideAlerts:
    """Passes on what is raised from outside while this process lives, and what the trackers of the last start missed.

    Args:
        folder: The path's folder.
        tell: Called in a thread with the kind, iteration and message of each alert.
    """

    def __init__(self, folder: PathFolder, tell: Callable[[str, int, str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._file = folder.root / READ
        self._looking = threading.Lock()
        read = (read_json(self._file) or {}).get("read")
        size = self._size()
        # Trackers that a campaign gets later do not hear of its whole past.
        self._read = read if isinstance(read, int) and 0 <= read <= size else size

    def watch(self, every: float = _LOOK_S) -> None:
        """Look from now on, in a thread: at the length of one file, once in so many seconds."""

        def work() -> None:
            pause = threading.Event()
            while True:
                self.look()
                pause.wait(every)

        threading.Thread(target=work, name="alerts from outside", daemon=True).start()

    def look(self) -> None:
        """Pass on what is new."""
        with self._looking, contextlib.suppress(OSError):
            if self._size() <= self._read and self._file.exists():
                return
            with self._folder.events.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            for line in whole.splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                    event = json.loads(line)
                    if event["event"] == "alert" and event["kind"] in KINDS:
                        self._tell(event["kind"], int(event["iteration"]), str(event["message"]))
            self._read += len(whole)
            with contextlib.suppress(StorageError):  # then the next start says it again
                write_atomic(self._file, json.dumps({"read": self._read}) + "\n")

    def _size(self) -> int:
        try:
            return self._folder.events.stat().st_size
        except OSError:
            return 0
