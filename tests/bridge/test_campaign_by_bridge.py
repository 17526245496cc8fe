"""A campaign in Megatron-Bridge's loop: main, a branch that is stopped and resumed, and what is on disk of them.

The stand-in's loop runs everywhere; Bridge's own where its wheel is at hand (``wheels.py``).
"""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from tests.bridge import TERMINATED_AT
from tests.bridge.wheels import WHEELS, unpacked
from tests.conftest import Lrps
from tests.training.campaigns import Ended, losses, rates, run_ranks, train_path, write_campaign
from tests.training.ranks import started_ranks

pytestmark = pytest.mark.training

CPU = "from megatron_lrps.training import cpu; cpu.install(); "
ENTRY = f"{CPU}from tests.bridge.tiny import main; main()"
PLACES = ("stand-in", "0.4.2", "0.5.0", "0.6.2")


class Trained(NamedTuple):
    """A campaign that has been trained as far as v1's end."""

    where: str
    plan: Path
    ended: dict[str, Ended]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = write_campaign(tmp_path_factory.mktemp("written"), extra=", seed: 1234")
    plan.write_text(plan.read_text().replace("hidden-dropout: 0.1", "hidden-dropout: 0.0"))
    return plan


@pytest.fixture(scope="module")
def by_megatron_lm(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same plan, trained by Megatron-LM's loop."""
    plan = copied(written, tmp_path_factory.mktemp("lm"))
    for path in ("main", "v1"):
        assert train_path(plan, path).codes == [0]
    return plan


@pytest.fixture(scope="module", params=PLACES)
def trained(request: pytest.FixtureRequest, written: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    where = place(request.param)
    plan = copied(written, tmp_path_factory.mktemp(request.param))
    ended = {
        "main": follow(where, plan, "main"),
        "stopped": follow(where, plan, "v1", train__exit_interval=6),
        "resumed": follow(where, plan, "v1"),
        "again": follow(where, plan, "v1"),
    }
    return Trained(where, plan, ended)


def place(version: str) -> str:
    """Where Megatron-Bridge is imported from."""
    if version == "stand-in":
        return version
    if version not in (found := unpacked()):
        pytest.skip(
            f"needs megatron-bridge {version}: run `make releases`, or name a folder with its wheel in {WHEELS}"
        )
    return str(found[version])


def copied(plan: Path, folder: Path) -> Path:
    return Path(shutil.copytree(plan.parent, folder / "campaign")) / plan.name


def follow(
    where: str, plan: Path, path: str, *, env: dict[str, str] | None = None, code: str = ENTRY, **changed: Any
) -> Ended:
    """Train a path in Bridge's loop, with some of its config changed."""
    given = [json.dumps(changed)] if changed else []
    return run_ranks([where, str(plan), path, *given], cwd=plan.parent, code=code, env=env, timeout=200)


def figures(plan: Path, path: str) -> dict[int, tuple[float, float]]:
    """Iteration -> the learning rate that it was trained with, and its loss; of a resumed path the last ones."""
    lines = (plan.parent / f"figures-{path}.jsonl").read_text().splitlines()
    return {iteration: (rate, loss) for iteration, rate, loss in map(json.loads, lines)}


def events(plan: Path, path: str) -> list[dict[str, Any]]:
    file = plan.parent / "run/paths" / path / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_run_ends_with_its_code(trained: Trained) -> None:
    codes = {name: ended.codes for name, ended in trained.ended.items()}
    assert codes == {"main": [0], "stopped": [75], "resumed": [0], "again": [0]}, trained.ended["main"].log[-3000:]
    assert "v1 is trained to its end, iteration 8; nothing to do." in trained.ended["again"].log
    assert "Traceback" not in "".join(ended.log for ended in trained.ended.values())


def test_fork_points_and_ends_are_saved_whatever_the_interval(trained: Trained) -> None:
    folder = trained.plan.parent / "run/paths"
    assert Checkpoints.in_folder(folder / "main/checkpoints").complete == (4, 11)
    assert Checkpoints.in_folder(folder / "v1/checkpoints").complete == (6, 8)
    assert not [*folder.glob("*/checkpoints/.*saving")]


def test_the_branch_forks_and_then_resumes(trained: Trained) -> None:
    started = [event for event in events(trained.plan, "v1") if event["event"] == "started"]
    assert [(each["iteration"], each["forked"]) for each in started] == [(4, True), (6, False)]
    stopped = [event for event in events(trained.plan, "v1") if event["event"] == "stopped"]
    assert [(each["reason"], each["iteration"], each["exit_code"]) for each in stopped] == [("interval", 6, 75)]
    assert sorted(figures(trained.plan, "v1")) == [5, 6, 7, 8]


def test_a_checkpoint_is_told_after_its_manifest(trained: Trained) -> None:
    saved = [event["iteration"] for event in events(trained.plan, "main") if event["event"] == "saved"]
    assert saved == [4, 11]
    main = trained.plan.parent / "run/paths/main/checkpoints"
    manifest = Checkpoint(main, 4).manifest
    assert manifest is not None
    assert {"train_state.pt", "run_config.yaml", ".metadata"} <= manifest.bytes.keys()
    assert manifest.digest


def test_learning_rates_are_those_of_lrps_run(trained: Trained, by_megatron_lm: Path) -> None:
    for path in ("main", "v1"):
        here = figures(trained.plan, path)
        there = rates(by_megatron_lm, path)  # logged with an iteration: the rate of the next one
        compared = [iteration for iteration in here if iteration - 1 in there]
        assert len(compared) == {"main": 10, "v1": 3}[path]
        for iteration in compared:
            assert np.float32(here[iteration][0]) == np.float32(there[iteration - 1]), (path, iteration)


def test_losses_are_those_of_lrps_run(trained: Trained, by_megatron_lm: Path) -> None:
    """Same data in the same order, same weights and optimizer at the fork and at the resume."""
    if trained.where == "stand-in":
        pytest.skip("needs a wheel of Megatron-Bridge: the stand-in draws other first weights")
    for path in ("main", "v1"):
        here = {iteration: np.float32(loss) for iteration, (_, loss) in figures(trained.plan, path).items()}
        there = {iteration: np.float32(loss) for iteration, loss in losses(by_megatron_lm, path).items()}
        assert here == there, path


def test_status_show_and_verify_read_it(trained: Trained, lrps: Lrps) -> None:
    status = lrps("status", trained.plan, "--json")
    assert status.code == 0, status.stderr
    standing = {path["name"]: path for path in json.loads(status.stdout)["paths"]}
    assert (standing["main"]["saved"], standing["v1"]["saved"]) == (11, 8)
    shown = lrps("show", trained.plan, "v1")
    assert shown.code == 0, shown.stderr
    assert "main" in shown.stdout
    verified = lrps("verify", trained.plan)
    assert verified.code == 0, verified.stdout + verified.stderr


# Without a GPU, a writer that is spawned knows nothing of the CPU backend.
FORKED = ENTRY.replace(
    "from tests",
    "from megatron.core.dist_checkpointing.strategies.async_utils import PersistentAsyncCaller as Caller; "
    "start = Caller._get_process; "
    "Caller._get_process = classmethod(lambda cls, rank, mode='', *rest: start(rank, 'forkserver', *rest)); "
    "from tests",
)
ASYNC = {"checkpoint__async_save": True, "checkpoint__async_strategy": "mcore"}


def test_asynchronous_saves_count_once_they_are_finished(written: Path, tmp_path: Path) -> None:
    plan = copied(written, tmp_path)
    ended = follow(place("0.6.2"), plan, "main", code=FORKED, **ASYNC)
    assert ended.codes == [0], ended.log[-3000:]
    saved = [event["iteration"] for event in events(plan, "main") if event["event"] == "saved"]
    assert saved == [4, 11]
    main = plan.parent / "run/paths/main/checkpoints"
    assert Checkpoints.in_folder(main).complete == tuple(saved)
    assert not [*main.glob(".*saving")]
    assert not Checkpoint(main, 4).damaged_contents()


def test_a_writer_that_is_killed_ends_its_rank_and_the_run_goes_on(written: Path, tmp_path: Path) -> None:
    """Without the watch, the rank waits for its answer for ever."""
    where, plan = place("0.6.2"), copied(written, tmp_path)
    plan.write_text(plan.read_text().replace("iters: 8", "iters: 40").replace("save-interval: 100", "save-interval: 5"))
    log, main = tmp_path / "log", plan.parent / "run/paths/main/checkpoints"
    arguments = [where, str(plan), "main", json.dumps(ASYNC)]
    with started_ranks(FORKED, arguments, [log], cwd=plan.parent) as (rank,):
        deadline = time.monotonic() + 200
        while not Checkpoints.in_folder(main).complete and time.monotonic() < deadline:
            assert rank.exitcode is None, log.read_text()[-3000:]
            time.sleep(0.02)
        (writer,) = [each for server in psutil.Process(rank.pid).children() for each in server.children()]
        writer.kill()
        rank.join(60)
        assert rank.exitcode == 128 + signal.SIGKILL, log.read_text()[-3000:]
    said = f"lrps: The process that writes the checkpoints of rank 0 (process {writer.pid} on "
    assert said in log.read_text()
    assert [event["exit_code"] for event in events(plan, "main") if event["event"] == "failed"] == [137]
    ended = follow(where, plan, "main", code=FORKED, **ASYNC)
    assert ended.codes == [0], ended.log[-3000:]


def test_lrps_export_names_the_converter(trained: Trained, lrps: Lrps) -> None:
    code, _, said = lrps("export", trained.plan, "v1")
    assert code == 78
    assert "--reference DIR" in said


def test_megatron_lm_does_not_continue_what_bridge_has_trained(trained: Trained) -> None:
    ended = train_path(trained.plan, "v2")
    assert ended.codes == [78]
    assert "was trained by Megatron-Bridge, and this run is Megatron-LM's" in ended.log


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model__num_layers": 3}, "megatron.num-layers is 2 in the plan, and 3 in Bridge's config"),
        ({"optimizer__adam_beta2": 0.95}, "--adam-beta2: 0.95 in this run, 0.999 in"),
        ({"model__layernorm_epsilon": 1e-6}, "--norm-epsilon: 1e-06 in this run, 1e-05 in"),
        ({"checkpoint__finetune": True}, "config.checkpoint.finetune is True"),
    ],
)
def test_another_run_is_refused(changed: dict[str, Any], said: str, stood_in: Path) -> None:
    ended = follow("stand-in", stood_in, "v2", **changed)
    assert ended.codes == [78], ended.log[-3000:]
    assert said in ended.log
    assert "Traceback" not in ended.log


@pytest.fixture(scope="module")
def stood_in(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose first save of main was cut off before Bridge had written the position, and main after it."""
    plan = copied(written, tmp_path_factory.mktemp("cut"))
    assert follow("stand-in", plan, "main", env={"LRPS_CUT_SAVE": "1"}).codes == [9]
    assert (Checkpoint(plan.parent / "run/paths/main/checkpoints", 4).folder / ".metadata").exists()
    ended = follow("stand-in", plan, "main")
    assert ended.codes == [0], ended.log[-3000:]
    (plan.parent / "second.log").write_text(ended.log)
    return plan


def test_a_save_without_its_position_does_not_count(stood_in: Path) -> None:
    assert "is left alone and not used: its save was cut off" in (stood_in.parent / "second.log").read_text()
    assert Checkpoints.in_folder(stood_in.parent / "run/paths/main/checkpoints").complete == (4, 11)


@pytest.mark.parametrize("exit_signal", [signal.SIGTERM, signal.SIGUSR2])
def test_sigterm_saves_and_stops_whatever_the_exit_signal_is(exit_signal: int, stood_in: Path, tmp_path: Path) -> None:
    plan = copied(stood_in, tmp_path)
    ended = follow("stand-in", plan, "v2", env={TERMINATED_AT: "12"}, train__exit_signal=int(exit_signal))
    assert ended.codes == [75], ended.log[-3000:]
    (stopped,) = [event for event in events(plan, "v2") if event["event"] == "stopped"]
    assert (stopped["reason"], stopped["iteration"]) == ("signal", 12)
    assert follow("stand-in", plan, "v2").codes == [0]
    assert Checkpoints.in_folder(plan.parent / "run/paths/v2/checkpoints").complete == (12, 14)


HANGS_AT_12 = """
import threading
from megatron_lrps.training import overdue_stop
from megatron_lrps.training.session import Session
overdue_stop.GRACE_S = 0.0
decide = Session.decide_exit
Session.decide_exit = lambda *args, **given: threading.Event().wait() if args[1] == 12 else decide(*args, **given)
"""


def test_a_rank_that_hangs_after_sigterm_ends_itself(stood_in: Path, tmp_path: Path) -> None:
    plan = copied(stood_in, tmp_path)
    plan.write_text(plan.read_text().replace("local: {", "local: {stop_timeout: 2, "))
    ended = follow("stand-in", plan, "v2", env={TERMINATED_AT: "12"}, code=f"{CPU}{HANGS_AT_12}{ENTRY}")
    assert ended.codes == [75], ended.log[-3000:]
    assert "lrps: rank 0 has made no progress for 2 s since it was asked to save and stop: it ends, and " in ended.log


def test_stock_bridge_is_refused_outside_of_follow(stood_in: Path) -> None:
    code = CPU + (
        "from tests.bridge.tiny import make_config, prepare_bridge; prepare_bridge('stand-in'); config = make_config("
        "checkpoint__custom_manager_class='megatron_lrps.bridge.checkpoint_manager.PathCheckpointManager')\n"
        "from megatron_lrps.bridge.checkpoint_manager import PathCheckpointManager as Manager\n"
        "try: Manager(config.checkpoint)\nexcept Exception as error: print(error)"
    )
    assert "call pretrain inside of `with follow(" in run_ranks([], cwd=stood_in.parent, code=code).log
