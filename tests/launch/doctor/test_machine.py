"""What is found on the machine that runs the tests."""

import shutil
from pathlib import Path

import pytest

from megatron_lrps.launch.doctor import machine
from megatron_lrps.launch.doctor.library_probe import MODULES
from megatron_lrps.launch.doctor.machine import look_at


def test_a_folder_that_is_not_there_yet_is_judged_by_what_is_above(tmp_path: Path) -> None:
    storage = look_at(tmp_path / "runs" / "campaign")
    assert storage.folder == str(tmp_path)
    assert storage.missing == ()
    assert storage.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert storage.kind != "?"
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_system_cannot_do_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("not here")

    for name in ("symlink", "fsync"):
        monkeypatch.setattr(machine.os, name, refuse)
    monkeypatch.setitem(machine._ABILITIES, "symbolic links", machine.os.symlink)
    assert look_at(tmp_path).missing == ("fsync", "symbolic links")


def test_a_folder_that_may_not_be_written_is_said() -> None:
    storage = look_at(Path("/proc"))
    assert storage.missing == ("write",)
    assert storage.kind == "proc"


def fake_probe(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> dict[str, dict[str, object]]:
    (folder / "fake_probe.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(machine, "PROBE", "fake_probe")
    return machine._probe()


def test_a_library_that_ends_the_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
print('hello', '{"module": "torch", "version": "2"}', '[1]', sep='\\n')
print('{"module": "megatron.core", "error": "E"}', flush=True)
import os, signal
os.kill(os.getpid(), signal.SIGSEGV)
"""
    found = fake_probe(monkeypatch, tmp_path, code)
    assert found["torch"] == {"version": "2"}
    assert found["megatron.core"] == {"error": "E"}
    assert found["transformer_engine.pytorch"] == {"error": "the import ends the process, code -11"}
    assert found["apex"] == {"error": "not tried after the one before"}


def test_an_import_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TIMEOUT_S", 2.0)
    found = fake_probe(monkeypatch, tmp_path, "import time; time.sleep(60)")
    assert found["torch"] == {"error": "the import does not end within 2 s"}
    assert set(found) == set(MODULES)


@pytest.mark.training
def test_this_machines_own_libraries_are_found(tmp_path: Path) -> None:
    found = machine.look(tmp_path)
    assert (found.version("megatron.core") or "").startswith("0.19.")
    assert found.version("torch")
    assert found.libraries["tensorboard"]
    assert found.cores >= 1
