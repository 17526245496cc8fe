"""What all tests share: an offline, single-threaded environment, the `gpu` marker, the `lrps` command."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest
from hypothesis import settings

# The same cases on every machine: a change that fails here fails everywhere.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# Set before anything imports torch, and inherited by every process a test starts.
OFFLINE_AND_QUIET = {
    "OMP_NUM_THREADS": "1",  # sums in one order, and ranks that share the cores don't fight over them
    "TORCH_COMPILE_DISABLE": "1",  # compiling takes longer than the tiny models train
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "COLUMNS": "120",
}
for _name, _value in OFFLINE_AND_QUIET.items():
    os.environ.setdefault(_name, _value)


# A shell's background job ignores Ctrl-C, and so would all that it starts: tests that press it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after -m has deselected: a run without gpu tests never imports torch here
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files that train first: a long one that comes last leaves all workers but one without work.
    train = {item.path for item in items if item.get_closest_marker("training")}
    items.sort(key=lambda item: item.path not in train)
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and (reason := _no_gpu()):
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason=reason))


def _no_gpu() -> str:
    try:
        import torch
    except ImportError as error:
        return f"needs a CUDA GPU, and torch does not import: {error}"
    return "" if torch.cuda.is_available() else "needs a CUDA GPU; torch.cuda.is_available() is False"


class Result(NamedTuple):
    """How a command ended: `code, stdout, stderr = lrps(...)`."""

    code: int
    stdout: str
    stderr: str


class Lrps(Protocol):
    """`lrps("plan", path, cwd=..., env=..., timeout=...)`; env is added to this process's."""

    def __call__(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> Result: ...


@pytest.fixture
def lrps(tmp_path: Path, run_lrps: Lrps) -> Lrps:
    """The command line in a process of its own, in `tmp_path` unless `cwd` says otherwise."""

    def run(
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> Result:
        return run_lrps(*args, cwd=cwd or tmp_path, env=env, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def run_lrps() -> Lrps:
    """The command line in a process of its own, for fixtures that outlive a test."""

    def run(
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 300,
    ) -> Result:
        command = [sys.executable, "-m", "megatron_lrps.cli", *map(str, args)]
        # A process group of its own, so that nothing a hung command started outlives its test.
        with subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)  # a launcher must get to end its ranks itself
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=300)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        return Result(process.returncode, stdout, stderr)

    return run


def heavy_modules(*args: str | Path) -> list[str]:
    """What `lrps ARGS` loads of the libraries that take longer than a command that trains nothing may."""
    code = (
        "import contextlib, sys\n"
        "from megatron_lrps.cli.app import app\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    app({[str(each) for each in args]!r})\n"
        "print('loaded', *sorted({'torch', 'megatron', 'numpy', 'matplotlib', 'tensorboard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr
    said, loaded = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert said != loaded, "the command said nothing"
    return loaded.split()[1:]
