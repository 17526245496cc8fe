"""One writer per path, among real processes; another host is a process that gives another host name."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import EXIT_CONTINUE, EXIT_REFUSED, RefusedError, StoppedError
from megatron_lrps.storage.owner import _started
from megatron_lrps.storage.ownership import acquire, holder
from tests.storage.owners import BEAT_S, Said, beating, holding, me, names_in, plant, taken, wait_until

LIMIT_S = 4 * BEAT_S

# Dies between its claim and its rename. Argument: folder.
DIE = """
import os, sys
from pathlib import Path
from megatron_lrps.storage.ownership import acquire
Path.rename = lambda *_: os._exit(9)
acquire(Path(sys.argv[1]), say=print)
"""

# Arguments: folder, dead record, rounds, "" or "hosts". Eight processes race for it; prints each round's winners.
RACE = """
import multiprocessing, os, sys
from pathlib import Path
from megatron_lrps.errors import RefusedError
from megatron_lrps.storage import owner, ownership
folder, dead, rounds, hosts = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]

def race(index, barrier, results):
    if hosts:
        owner.socket.gethostname = lambda: f"node{index}"
    for _ in range(rounds):
        barrier.wait()
        try:
            held = ownership.acquire(folder, beat_s=0.2, patience=10, say=lambda _: None)
            held.start()
        except RefusedError as error:
            held = None
        barrier.wait()
        results.put(held is not None and held.lost is None)
        if held:
            held.release()
        barrier.wait()
        if index == 0:
            plant()

def plant():
    (folder / "owner.json").write_text(dead)
    os.utime(folder / "owner.json", (1, 1))

plant()
context = multiprocessing.get_context("fork")
barrier, results = context.Barrier(8, timeout=300), context.SimpleQueue()
racers = [context.Process(target=race, args=(index, barrier, results)) for index in range(8)]
for racer in racers:
    racer.start()
for _ in range(rounds):
    print(sum(results.get() for _ in racers))
for racer in racers:
    racer.join()
"""


def run(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_free_path_is_taken_and_given_back_in_silence(folder: Path, said: Said) -> None:
    assert holder(folder) is None
    taken(folder, said)
    taken(folder, said)
    assert said == []


def test_a_second_process_is_refused_at_once_while_the_first_lives(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    with holding(folder) as first:
        monkeypatch.setenv("SLURM_JOB_ID", "42")
        with pytest.raises(RefusedError) as refused:
            acquire(folder, beat_s=BEAT_S, say=said.append)
        record = holder(folder)
    assert record is not None
    assert (record.pid, record.job) == (first.pid, "41")
    for part in (str(folder), f"process {first.pid} on {record.host}", "job 41", record.since, str(os.getpid())):
        assert part in refused.value.what
    assert "scancel 41" in refused.value.fix
    assert refused.value.exit_code == EXIT_REFUSED
    assert said == []


def test_a_requeued_job_waits_for_its_own_earlier_start(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    with holding(folder) as first:  # on a node that Slurm took for dead
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        with pytest.raises(
            StoppedError, match=rf"still written by process {first.pid} .*job 41, .*restart 1"
        ) as stopped:
            acquire(folder, beat_s=BEAT_S, say=said.append)
    assert stopped.value.exit_code == EXIT_CONTINUE


def test_the_same_process_cannot_take_a_path_twice(folder: Path) -> None:
    with acquire(folder, say=print), pytest.raises(RefusedError, match=f"kill {os.getpid()} on"):
        acquire(folder, say=print)


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_job_is_taken_over_from_at_once(folder: Path, reaped: bool, said: Said) -> None:
    with holding(folder) as first:
        first.kill()
        if reaped:
            first.wait()
        wait_until(lambda: holder(folder) is None)  # a zombie holds nothing
        said.since = time.monotonic()
        taken(folder, said)
        assert said.seconds < LIMIT_S
    (line,) = said
    assert line.startswith(f"main: taken over from process {first.pid} on ")
    assert line.endswith("that process has ended")


def test_a_later_process_with_the_same_pid_is_not_the_holder(folder: Path, said: Said) -> None:
    start = _started(os.getpid())
    assert start
    plant(folder, me(start=start - 1))
    taken(folder, said)
    assert len(said) == 1


def test_another_hosts_job_without_a_heartbeat_is_dead_after_its_patience(folder: Path, said: Said) -> None:
    plant(folder, me(host="node7", job="41", beat_s=0.2))  # its own beat counts, not the shorter one of this process
    assert holder(folder) is not None
    said.since = time.monotonic()
    taken(folder, said)
    assert 0.7 < said.seconds < 1.4
    wait, takeover = said
    assert "held by process" in wait
    assert "on node7 (job 41, since" in wait
    assert "waiting up to 0." in wait
    assert takeover.endswith("no heartbeat came within 0.8 s")


def test_another_hosts_job_with_a_heartbeat_is_refused(folder: Path, said: Said) -> None:
    with holding(folder, host="node7"):
        with pytest.raises(RefusedError, match="on node7"):
            acquire(folder, beat_s=BEAT_S / 5, say=said.append)
        assert (now := holder(folder)) is not None
        assert now.host == "node7"
    assert len(said) == 1


def test_a_pid_of_another_pid_namespace_means_nothing(folder: Path, said: Said) -> None:
    wrapper = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs unshare to make a pid namespace")
    with holding(folder, wrapper=wrapper) as unshare:
        record = holder(folder)
        assert record is not None
        assert (record.pid, record.host, record.boot) == (1, me().host, me().boot)
        with pytest.raises(RefusedError):
            acquire(folder, beat_s=BEAT_S, say=said.append)
        assert len(said) == 1
        assert unshare.stdin is not None
        unshare.stdin.close()
        unshare.wait()


@pytest.mark.parametrize("changes", [{"boot": "another"}, {"boot": None}, {"namespace": 1}, {"start": None}])
def test_where_the_pid_cannot_be_asked_the_heartbeat_decides(folder: Path, said: Said, changes: dict[str, Any]) -> None:
    plant(folder, me(pid=2**31 - 1, beat_s=BEAT_S / 2, **changes))
    taken(folder, said)
    assert len(said) == 2


def test_a_requeued_job_on_another_host_waits_for_a_heartbeat(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where only slurmd has died, the earlier step trains on beside the requeued one.
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    plant(folder, me(host="node7", restart=0))
    taken(folder, said)
    assert len(said) == 2


def test_a_heartbeat_is_dated_by_the_file_servers_clock(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    with holding(folder, host="node7"):
        assert holder(folder) is not None
        with pytest.raises(RefusedError):
            acquire(folder, beat_s=BEAT_S, say=said.append)
    hour_ago = folder.stat().st_mtime - 3600
    os.utime(folder / "owner.json", (hour_ago, hour_ago))
    assert holder(folder) is None
    said.clear()
    said.since = time.monotonic()
    taken(folder, said)
    assert said.seconds < LIMIT_S
    (line,) = said
    assert "its last heartbeat is 3600." in line
    assert line.endswith(" s old, more than 0.4 s")


def test_a_heartbeat_from_the_future_does_not_hold_a_path_for_ever(folder: Path, said: Said) -> None:
    plant(folder, me(host="node7"), age_s=-3600)
    taken(folder, said)
    assert said.seconds < 3 * LIMIT_S
    assert len(said) == 2


@pytest.mark.parametrize("host", ["", "hosts"])
def test_of_eight_that_race_for_a_dead_jobs_path_one_wins(folder: Path, host: str) -> None:
    folder.mkdir(parents=True)
    rounds = 4 if host else 40
    dead = json.dumps(asdict(me(pid=2**31 - 1, host="node99" if host else me().host)))
    done = run(RACE, folder, dead, str(rounds), host)
    assert done.stdout.split() == ["1"] * rounds, done.stderr


def test_a_job_that_died_taking_over_does_not_block_the_path(folder: Path, said: Said) -> None:
    plant(folder, me(pid=2**31 - 1))
    assert run(DIE, folder).returncode == 9
    assert run(DIE, folder).returncode == 9
    assert len(names_in(folder)) > 1
    taken(folder, said)
    assert len(said) > 1


def test_a_job_that_was_suspended_too_long_learns_that_it_lost_the_path(folder: Path, said: Said) -> None:
    with holding(folder, host="node7") as first:
        first.send_signal(signal.SIGSTOP)
        with acquire(folder, beat_s=BEAT_S, say=said.append) as held:
            first.send_signal(signal.SIGCONT)
            assert first.wait(timeout=300) == 1
            assert first.stderr is not None
            assert f"{folder} has been taken over by process {os.getpid()} on" in first.stderr.read()
            # Its release has left the record alone.
            time.sleep(2 * BEAT_S)
            assert held.lost is None


def test_a_job_whose_record_is_removed_has_lost_the_path(folder: Path) -> None:
    with acquire(folder, beat_s=BEAT_S, say=print) as held:
        (folder / "owner.json").unlink()
        wait_until(lambda: held.lost is not None)
        assert "owner.json is gone" in str(held.lost)
        assert beating() == []


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.EACCES])  # EACCES: a Kerberos ticket ran out
def test_a_file_server_that_fails_for_a_while_takes_no_path_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failed = []
    real = os.open

    def fail(name: Any, *arguments: Any, **options: Any) -> int:
        if Path(name).name != "owner.json":
            return real(name, *arguments, **options)
        failed.append(name)
        raise OSError(code, os.strerror(code))

    with acquire(folder, beat_s=BEAT_S / 5, say=print) as held:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            wait_until(lambda: len(failed) > 2)
        before = (folder / "owner.json").stat().st_mtime_ns
        wait_until(lambda: (folder / "owner.json").stat().st_mtime_ns > before)
        assert held.lost is None


def test_a_release_removes_nothing_of_another_and_may_come_twice(folder: Path) -> None:
    held = acquire(folder, say=print)
    held.start()
    held.start()
    held.release()
    file = plant(folder, me(host="node7"))
    held.release()
    held.start()
    assert file.exists()
    assert beating() == []
