"""A campaign in a real TensorBoard: its own server, and its own pages in a browser where there is one."""

import json
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import log_event
from megatron_lrps.monitor.tensorboard.derive import derive
from megatron_lrps.plan import Tree, plan_text
from tests.monitor import chromium
from tests.monitor.test_printed_figures import begin, line
from tests.training.harness import read_scalars

ROOT = Path(__file__).resolve().parents[2]
RUNS = {".", "main", "v1", "v1/backfilled"}
TEXTS = """
(function texts(root) {
  let found = "";
  for (const each of root.childNodes) {
    if (each.nodeType === 3) found += each.textContent;
    if (each.nodeType === 1 && !["STYLE", "SCRIPT", "TEMPLATE"].includes(each.tagName))
      found += (each.shadowRoot ? texts(each.shadowRoot) : "") + texts(each) + "\\n";
  }
  return found;
})(document.body)
"""
"""All words of a page; TensorBoard's parts have roots of their own, which innerText does not enter."""


class Server:
    """A TensorBoard on a folder."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, body: Any = None, **query: str) -> Any:
        request = Request(f"{self.address}/data/{path}?{urlencode(query)}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def steps(self, run: str, tag: str) -> list[int]:
        return [step for _, step, _ in self.get("plugin/scalars/scalars", run=run, tag=tag)]

    def wait(self, ready: Any) -> None:
        end = time.monotonic() + 90
        while True:
            try:
                if ready(self):
                    return
            except URLError:  # it is not up, or does not know the run yet
                pass
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture
def tree(make_tree, log_job) -> Tree:
    """Main is trained to 140, v1 to its end, and of v1 the losses after 80 are in its log alone."""
    tree = make_tree(2, 100)
    campaign = CampaignFolder(tree.plan.folder)
    for path, fork, end, logged in (("main", 0, 140, 140), ("v1", 40, 100, 80)):
        log_event(campaign.path(path), "started", iteration=fork, forked=fork > 0)
        values: list[tuple[str, int, float]] = []
        for i in range(fork + 1, logged + 1):
            rate = tree.path(path).schedule.lr(4 * i, max_lr=3e-4, min_lr=3e-5)
            for tag, value in (("lm loss", 2 + 8 / i), ("learning-rate", rate)):
                values += [(tag, i, value), (f"{tag} vs samples", 4 * i, value)]
        log_job(campaign.tensorboard(path), [*values, ("lm loss validation-v1-web", logged, 3.25)])
        log_event(campaign.path(path), "done", iteration=end)
    logs = campaign.path("v1").logs
    logs.mkdir()
    (logs / "0.log").write_text("\n".join([begin(), *(line(i, i, 2 + 8 / i) for i in range(41, 101))]) + "\n")
    derive(Campaign(tree))
    return tree


@contextmanager
def serving(tree: Tree, log: Path, *options: str) -> Iterator[Server]:
    """TensorBoard on the campaign's folder, once it has read its last run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--logdir", str(folder_of(tree)), "--port", str(port), "--reload_interval", "1", *options)
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *options], stdout=output, stderr=output)
    try:
        server = Server(f"http://127.0.0.1:{port}")
        server.wait(lambda server: set(server.get("plugin/scalars/tags")) >= RUNS - {"."})  # "." has texts alone
        yield server
    finally:
        process.terminate()
        process.wait(timeout=300)


def folder_of(tree: Tree) -> Path:
    return CampaignFolder(tree.plan.folder).root / "tensorboard"


@pytest.fixture
def server(tree, tmp_path) -> Iterator[Server]:
    with serving(tree, tmp_path / "server.log") as server:
        server.wait(
            lambda server: set(server.get("runs")) >= RUNS and server.steps("v1/backfilled", "lm loss")[-1:] == [100]
        )
        yield server


# The command lines that readers are given


def documented() -> list[str]:
    """The options of every command line of the docs that starts TensorBoard, without the folder; "" is none."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    lines = re.findall(r"(?<!lrps )\btensorboard (--[^\n`]*)", text)
    assert all(line.startswith("--logdir <save>/tensorboard") for line in lines)
    alone = re.findall(r"`(--[^\n`]*)`", (ROOT / "docs/tensorboard.md").read_text(encoding="utf-8"))
    return list(dict.fromkeys([*(line.removeprefix("--logdir <save>/tensorboard").strip() for line in lines), *alone]))


COMMANDS = [
    (options, loader)
    for options in documented()
    for loader in (["--load_fast=true", "--load_fast=false"] if "load_fast" not in options else [""])
]
LONG = 1500
"""Points of a run of more than TensorBoard shows by default."""


def test_the_docs_have_command_lines(lrps, tree) -> None:
    assert "" in documented()
    assert any("--samples_per_plugin" in options for options in documented())
    # The one that `lrps tensorboard` prints is among them.
    code, stdout, _ = lrps("tensorboard", write_plan(tree))
    assert code == 0
    assert stdout.splitlines()[-1] == f"tensorboard --logdir {folder_of(tree)}"


def write_plan(tree: Tree) -> Path:
    file = tree.plan.base / "plan.yaml"
    file.write_text(plan_text(tree.plan))
    return file


@pytest.mark.parametrize(("options", "loader"), COMMANDS)
def test_every_documented_command_line_shows_the_points(tree, log_job, tmp_path, options: str, loader: str) -> None:
    folder = folder_of(tree)
    log_job(folder / "long", [("lm loss", i, 1 / i) for i in range(1, LONG + 1)])
    logged = {
        (str(run.relative_to(folder)), tag): [step for step, _ in series]
        for run in {file.parent for file in folder.rglob("events*")}
        for tag, series in read_scalars(run).items()
    }
    assert len(logged["long", "lm loss"]) == LONG
    with serving(tree, tmp_path / "server.log", *shlex.split(f"{options} {loader}")) as server:
        server.wait(lambda server: {(run, tag) for run, tags in listed(server) for tag in tags} >= set(logged))
        server.wait(lambda server: server.steps("long", "lm loss")[-1:] == [LONG])
        for (run, tag), steps in logged.items():
            shown = server.steps(run, tag)
            if len(steps) <= 1000 or "samples_per_plugin" in options:
                assert shown == steps, (run, tag)
            else:
                assert (len(shown), set(shown) <= set(steps)) == (1000, True)


def listed(server: Server) -> Any:
    return server.get("plugin/scalars/tags").items()


def test_runs_charts_and_columns(server):
    assert set(server.get("runs")) == RUNS
    layout = server.get("plugin/custom_scalars/layout")
    assert [each["title"] for each in layout["category"]][:3] == ["LR paths", "Loss by path", "Validation by window"]
    (over_tokens,) = (each for each in layout["category"][1]["chart"] if each["title"] == "training loss over tokens")
    steps = {}
    for run in RUNS:
        for tag in over_tokens["multiline"]["tag"]:
            found = server.get("plugin/custom_scalars/scalars", run=run, tag=tag)["tag_to_events"]
            steps.update((run, [step for _, step, _ in series]) for series in found.values())
    assert {run: (each[0], each[-1]) for run, each in steps.items()} == {
        "main": (32, 140 * 32),
        "v1": (41 * 32, 80 * 32),
        "v1/backfilled": (81 * 32, 100 * 32),
    }
    experiment = server.get("plugin/hparams/experiment", {"experimentName": ""})
    assert {"fork", "shape", "alpha", "paradigm"} <= {each["name"] for each in experiment["hparamInfos"]}
    columns = [{"metric": each["name"]} for each in experiment["metricInfos"]]
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_RUNNING"],
        "colParams": columns,
        "startIndex": 0,
        "sliceSize": 9,
    }
    (group,) = server.get("plugin/hparams/session_groups", asked)["sessionGroups"]  # no checkpoint of its end is there
    assert (group["name"], group["hparams"]["fork"]) == ("v1", 40.0)
    cost = {each["name"]["tag"]: each["value"] for each in group["metricValues"]}
    assert cost["cost/iterations so far"] == 100.0


def test_an_open_tensorboard_shows_what_is_derived_anew_once(server, tree, log_job):
    campaign = CampaignFolder(tree.plan.folder)
    log_job(campaign.tensorboard("v1"), [("lm loss", i, 3.0) for i in range(61, 91)])  # resumed at 60
    derive(Campaign(tree))
    server.wait(lambda server: server.steps("v1", "lm loss vs tokens")[-1] == 90 * 32)
    assert server.steps("v1", "lm loss vs tokens") == [32 * i for i in range(41, 91)]
    assert server.steps("v1", "lm loss") == list(range(41, 91))


def test_in_a_browser(server, tmp_path):
    program = chromium.find()
    if program is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(chromium.NAMES)} is on the PATH")
    with chromium.browser(program, tmp_path / "profile") as tab:
        tab.open(f"{server.address}/#custom_scalars", width=1400, height=1200)
        tab.wait_for(f"{TEXTS}.includes('Matches (3)')", seconds=90)
        shown = tab.evaluate(TEXTS)
        for words in ("LR paths", "learning rate over tokens", "forks, resumes, ends; saves below", "v1/backfilled"):
            assert words in shown
        Path(tmp_path / "custom_scalars.png").write_bytes(tab.picture())
        tab.open("about:blank", width=1400)
        tab.open(f"{server.address}/#hparams", width=1400, height=1200)
        tab.wait_for(f"{TEXTS}.includes('cost/of PTFS') && {TEXTS}.includes('cosine')", seconds=90)
        assert not [each for each in tab.errors if "exceptionDetails" in each]
