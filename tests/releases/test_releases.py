"""Each release of Megatron that is here trains the short campaign, and branches off another's main path.

`make releases` gets the wheels of older releases. A process imports one Megatron, so that each release has processes of
its own, with the release in front of their path.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.releases.installed_releases import INSTALLED, Place, places
from tests.releases.results import RESULTS, record
from tests.training.campaigns import losses, write_campaign
from tests.training.ranks import free_port

pytestmark = pytest.mark.training

HERE = Path(__file__).parent
LAYOUTS = "weights_alone or (moves_every_tensor and not soak) or buckets or tied or by_rank"
"""Of the tests of layouts, those that say what a release can."""
ASKED = [INSTALLED] if os.environ.get(RESULTS) else []
"""The installed release is tested by all other tests; here only where a table of all releases is made."""


def in_front(place: Place) -> dict[str, str]:
    """The environment of a process that imports this release."""
    return {**os.environ, **({"PYTHONPATH": str(place.folder)} if place.folder else {})}


def require(place: Place) -> None:
    if place.folder is not None and not (place.folder / "megatron").is_dir():
        pytest.skip(f"{place.folder} has no megatron-core {place.version}; `make releases` gets it from PyPI")


def run_tests(place: Place, file: str, folder: Path, *flags: str) -> tuple[dict[str, bool], str]:
    """Run a file of tests with this release; test -> whether it passed, skipped ones left out, and pytest's output."""
    xml = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={xml}", *flags]
    inner = [*command, f"--basetemp={folder / 'inner'}", str(HERE / file)]
    run = subprocess.run(inner, env=in_front(place), capture_output=True, text=True, check=False)
    cases = {}
    for case in ElementTree.parse(xml).getroot().iter("testcase"):
        if case.find("skipped") is None:
            cases[case.attrib["name"]] = len(case.findall("failure")) + len(case.findall("error")) == 0
    remember(place, cases)
    return cases, run.stdout


def remember(place: Place, cases: Mapping[str, bool]) -> None:
    if os.environ.get(RESULTS):
        record(Path(os.environ[RESULTS]), str(place), cases)


@pytest.mark.parametrize("place", [*places(), *ASKED], ids=str)
def test_the_short_campaign(place: Place, tmp_path: Path) -> None:
    require(place)
    cases, said = run_tests(place, "short_campaign.py", tmp_path)
    assert cases
    assert all(cases.values()), said[-8000:]


def train(place: Place, plan: Path, path: str) -> tuple[int, str]:
    """Train a path of a plan with this release: the exit code, and what was said."""
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    environment = {**in_front(place), **ranks, "MASTER_PORT": str(free_port()), "CUDA_VISIBLE_DEVICES": ""}
    flags = ["--lrps-plan", str(plan), "--lrps-path", path, "--lrps-cpu"]
    command = [sys.executable, "-m", "megatron_lrps.pretrain", *flags]
    run = subprocess.run(command, env=environment, cwd=plan.parent, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout[-6000:] + run.stderr[-2000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Place], Path]:
    """The plan of a campaign whose main path a release has trained."""

    @cache
    def main(place: Place) -> Path:
        require(place)
        plan = write_campaign(tmp_path_factory.mktemp("main"))
        code, said = train(place, plan, "main")
        assert code == 0, said
        return plan

    return main


def pairs() -> list[tuple[Place, Place]]:
    """(the release of main, the release of the branch): here the latter is the installed one, or any if asked for."""
    every = one_of_each()
    branching = every if ASKED else [INSTALLED]
    return [(there, here) for there in every for here in branching if there.series != here.series]


def one_of_each() -> list[Place]:
    """One place of each release: the installed one, then wheels before checkouts."""
    return [*{place.series: place for place in reversed([INSTALLED, *places()])}.values()]


@pytest.mark.parametrize(("there", "here"), pairs(), ids=str)
def test_a_newer_release_goes_on_with_an_older_ones_main(
    there: Place, here: Place, trained: Callable[[Place], Path], tmp_path: Path
) -> None:
    require(here)
    plan = Path(shutil.copytree(trained(there).parent, tmp_path / "campaign")) / "plan.yaml"
    code, said = train(here, plan, "v1")
    remember(there, {f"branched on {here}": code == 0})
    if code == 78:
        assert there.series > here.series, said
        assert "if a newer release saved it" in said or "was saved by megatron-core 0.19 or later" in said
        assert "Traceback" not in said
    else:
        assert code == 0, said
        branch, main = losses(plan, "v1"), losses(plan, "main")
        assert sorted(branch) == [5, 6, 7, 8]
        assert branch[5] == pytest.approx(main[5], rel=1e-6)  # the same state and sample, by another release's code


@pytest.mark.soak
@pytest.mark.parametrize("place", one_of_each(), ids=str)
def test_layouts(place: Place, tmp_path: Path) -> None:
    require(place)
    cases, said = run_tests(place, "../training/test_layouts.py", tmp_path, "-k", LAYOUTS)
    assert cases
    assert all(cases.values()), said[-8000:]
