"""The owner of a path: a job's record, and the evidence that its process is alive."""

import contextlib
import json
import os
import secrets
import socket
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

BEAT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The job that holds a path."""

    host: str
    pid: int
    start: int | None = None  # in ticks after boot: distinguishes a later process with the same pid
    boot: str | None = None  # id of the host's boot
    namespace: int | None = None  # inode of the pid namespace: in a different one (a container) the pid is meaningless
    job: str | None = None  # SLURM_JOB_ID
    restart: int = 0  # SLURM_RESTART_COUNT
    token: str  # random
    since: str  # UTC
    beat_s: float = BEAT_S  # seconds between heartbeats

    def __str__(self) -> str:
        if self == UNKNOWN:
            return "an unknown process (its record is not readable)"
        job = f"job {self.job}{f' restart {self.restart}' if self.restart else ''}, " if self.job else ""
        return f"process {self.pid} on {self.host} ({job}since {self.since})"


UNKNOWN = Owner(host="", pid=0, token="", since="")


def evidence(owner: Owner, me: Owner) -> tuple[bool | None, str]:
    """Return whether a job is alive, and why not; None if only its heartbeat can tell."""
    here = (owner.host, owner.boot, owner.namespace) == (me.host, me.boot, me.namespace)
    if here and owner.boot and owner.namespace and owner.start and (start := _started(owner.pid)) is not None:
        return start == owner.start, "that process has ended"
    return None, ""


def _started(pid: int) -> int | None:
    """Return a process's start time: field 22 of /proc/<pid>/stat, proc(5). 0 if it has ended, None if unknown."""
    try:
        with contextlib.suppress(PermissionError):  # another user's process
            os.kill(pid, 0)
        # Field 2, the command's name, is in parentheses and may hold anything.
        state, *after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return 0 if state in (b"Z", b"X") else int(after[18])  # a zombie writes nothing
    except ProcessLookupError:
        return 0
    except (OSError, ValueError, IndexError):  # /proc may hide other users' processes
        return None


def this_process(beat_s: float) -> Owner:
    """Return this process as an owner, with a new token."""
    pid, boot, namespace = os.getpid(), None, None
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    job, restart = os.environ.get("SLURM_JOB_ID") or None, int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    token, since = secrets.token_hex(16), datetime.now(UTC).isoformat(timespec="seconds")
    return Owner(
        host=socket.gethostname(), pid=pid, start=_started(pid), boot=boot, namespace=namespace,
        job=job, restart=restart, token=token, since=since, beat_s=beat_s
    )  # fmt: skip


def owner_in(raw: bytes) -> Owner:
    """Return the owner in a record; UNKNOWN unless every field has its type and a possible value."""
    try:
        data = json.loads(raw)
        owner = Owner(**{field.name: data[field.name] for field in fields(Owner)})
    except (ValueError, RecursionError, KeyError, TypeError):
        return UNKNOWN
    texts = (owner.host, owner.token, owner.since, owner.boot or "", owner.job or "")
    counts = (owner.pid, owner.restart, owner.start or 0, owner.namespace or 0)
    possible = (
        all(isinstance(text, str) and text.isprintable() and len(text) <= 256 for text in texts)
        and all(type(count) is int and count >= 0 for count in counts)
        and 0 < owner.pid < 2**31
        and type(owner.beat_s) in (int, float)
        and 0 < owner.beat_s <= 3600
    )
    return owner if possible else UNKNOWN
