"""One writer per path: ``<path>/owner.json`` names the job that trains it; its mtime is that job's heartbeat.

File locks are not used: network file systems lack or fake them. An exclusive link and a rename are atomic there too.
The job recorded in owner.json owns the path. It gets there by an exclusive link, or as the one heir of a dead record.
The heir's claim, ``owner-<digest of the dead record>.next``, is an exclusive link as well. It holds the heir's own
record, so that a dead heir is detected like a dead owner. It is renamed onto owner.json, which is thus never absent: no
third job can slip in between.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from megatron_lrps.errors import RefusedError, StoppedError, StorageError
from megatron_lrps.storage.owner import BEAT_S, UNKNOWN, Owner, evidence, owner_in, this_process

FILE = "owner.json"
PATIENCE = 4
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A file as last read; equal while neither its record nor its heartbeat has changed."""

    raw: bytes
    mtime_ns: int


class Ownership:
    """A path held by this process; as a context manager, with a heartbeat."""

    def __init__(self, file: Path, record: bytes) -> None:
        self.lost: str | None = None  # why this process no longer owns the path, in one line
        self._file, self._record = file, record
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lrps-owner", daemon=True)

    @property
    def token(self) -> str:
        """The token that identifies this ownership of the path."""
        return owner_in(self._record).token

    def start(self) -> None:
        """Start the heartbeat, once; without it, a job on another host takes over the path."""
        if self._thread.ident is None and not self._ended.is_set():
            self._thread.start()

    def release(self) -> None:
        """Release the path if this process still owns it. If the disk refuses, the end of this process releases it."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)  # a file system that hangs must not hang the job's end
        with contextlib.suppress(OSError):
            # With a last heartbeat, so that an heir about to take the path checks again.
            seen = _see(self._file, touch=self._record)
            if seen is not None and seen.raw == self._record:
                self._file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _beat(self) -> None:
        while self.lost is None and not self._ended.wait(owner_in(self._record).beat_s):
            with contextlib.suppress(OSError):  # the file server may be restarting: the next beat tries again
                seen = _see(self._file, touch=self._record)
                if seen is None:
                    self.lost = f"{self._file} is gone, and with it this process's hold of the path."
                elif seen.raw != self._record:
                    self.lost = f"{self._file.parent} has been taken over by {owner_in(seen.raw)}."


def acquire(folder: Path, *, beat_s: float = BEAT_S, patience: int = PATIENCE, say: Callable[[str], None]) -> Ownership:
    """Take a path for this process, from a dead job if need be; ``say`` gets a line for that, and before a wait.

    A job that shows only heartbeats is dead when it has missed ``patience`` of them.

    Raises:
        RefusedError: another job holds the path.
        StoppedError: an earlier start of this job holds it: Slurm has requeued it, and a node it has lost trains on.
        StorageError: the disk refuses.
    """
    me = this_process(beat_s)
    record = json.dumps(asdict(me), indent=2).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _take(folder / FILE, record, me, patience, say)
    except OSError as error:
        what = f"{folder} could not be taken by {me}: {error.strerror or error}."
        raise StorageError(what, "make room, or make the folder writable, then rerun.") from None
    return Ownership(folder / FILE, record)


def holder(folder: Path) -> Owner | None:
    """Return the job that holds a path, as far as is known without waiting; None if nobody or a dead job does."""
    try:
        seen = _see(folder / FILE)
    except OSError:
        return UNKNOWN
    if seen is None:
        return None
    owner = owner_in(seen.raw)
    alive, _ = evidence(owner, this_process(BEAT_S))
    if alive is None:
        now = time.time_ns()
        with contextlib.suppress(OSError):  # without write access, only the local clock is available
            now = _server_time(folder)
        alive = now - seen.mtime_ns <= PATIENCE * owner.beat_s * 1e9
    return owner if alive else None


def _take(file: Path, record: bytes, me: Owner, patience: int, say: Callable[[str], None]) -> None:
    news = ""
    for _ in range(100):  # a third round is rare: it means that other jobs were faster
        # The file's content decides: a network file system may report failure for a link or rename that it did.
        seen = _see(file)
        if seen is None:
            with contextlib.suppress(FileExistsError):
                _create(file, record)
        elif seen.raw == record:
            return say(news) if news else None
        elif why := _why_dead(file, seen, me, patience, say):
            news = f"{file.parent.name}: taken over from {owner_in(seen.raw)}: {why}"
            claim = file.with_name(f"owner-{hashlib.sha256(seen.raw).hexdigest()[:16]}.next")
            _take(claim, record, me, patience, say)
            try:
                if _see(file) == seen:
                    with contextlib.suppress(FileNotFoundError):  # this claim was taken for dead, and its heir has it
                        claim.rename(file)
            finally:
                claim.unlink(missing_ok=True)
    raise RefusedError(f"{file} changes hands faster than {me} can follow.", "see which jobs write it, then rerun.")


def _why_dead(file: Path, seen: _Seen, me: Owner, patience: int, say: Callable[[str], None]) -> str | None:
    """Return why a record's job is dead; None if the record changed meanwhile. Raises if the job is alive."""
    owner = owner_in(seen.raw)
    alive, why = evidence(owner, me)
    if alive is None:
        limit = patience * (me if owner == UNKNOWN else owner).beat_s
        age = (_server_time(file.parent) - seen.mtime_ns) / 1e9
        if age > limit:
            return f"its last heartbeat is {age:.1f} s old, more than {limit:.1f} s"
        wait = min(limit, limit - age)  # a heartbeat from the future: the file server's clock was set back
        say(f"{file.parent.name}: held by {owner}; waiting up to {wait:.1f} s to see whether it lives")
        end = time.monotonic() + wait
        while not alive and time.monotonic() < end:
            time.sleep(min(limit / patience / 5, 1.0))
            now = _see(file)
            if now is None or now.raw != seen.raw:
                return None
            alive = now != seen
        why = f"no heartbeat came within {limit:.1f} s"
    if alive and owner.job is not None and owner.job == me.job:
        raise StoppedError(
            f"{file.parent} is still written by {owner}, and {me} may not write there too.",
            "wait: it saves and ends, or it is found dead, and this job's next start goes on.",
        )
    if alive:
        end_it = f"scancel {owner.job}" if owner.job else f"kill {owner.pid} on {owner.host}"
        raise RefusedError(
            f"{file.parent} is being written by {owner}, and {me} may not write there too.",
            f"wait for it, or end it ({'see who writes there' if owner == UNKNOWN else end_it}), then rerun.",
        )
    return why


def _see(file: Path, *, touch: bytes | None = None) -> _Seen | None:
    """Read a file, None if it is absent; if it holds the record ``touch``, give it a heartbeat first."""
    try:
        # Opened, because NFS may answer a stat from a cache for a minute.
        with open(
            file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
        ) as opened:
            raw = opened.read(64 * 1024)
            if raw == touch:
                os.utime(opened.fileno())
            return _Seen(raw=raw, mtime_ns=os.fstat(opened.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
    except OSError:
        if touch is not None:
            raise
        return _Seen(raw=b"", mtime_ns=file.lstat().st_mtime_ns)  # not readable, or no file


def _create(file: Path, record: bytes) -> None:
    """Create a file whole, or raise FileExistsError."""
    with _temporary(file.parent, record) as temporary:
        try:
            file.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _write(file, record)  # others may read it half-written: an unknown holder until they read again


def _server_time(folder: Path) -> int:
    """Return the file server's clock in ns, which heartbeats use because hosts' clocks differ."""
    with _temporary(folder, b"") as probe:
        return probe.stat().st_mtime_ns


@contextlib.contextmanager
def _temporary(folder: Path, content: bytes) -> Iterator[Path]:
    path = folder / f".{FILE}.{secrets.token_hex(8)}.tmp"
    try:
        _write(path, content)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as opened:
        try:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
            os.utime(opened.fileno())  # to the server's time: a write may use this host's
        except OSError:
            file.unlink(missing_ok=True)
            raise
