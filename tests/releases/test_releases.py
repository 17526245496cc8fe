"""Each release of Megatron that is here trains the short campaign; `make releases` gets the wheels of older ones.

A process imports one Megatron, so that each release has a pytest of its own, with the release in front of its path.
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.releases.installed_releases import Place, places
from tests.releases.results import RESULTS, record

CAMPAIGN = Path(__file__).with_name("short_campaign.py")


@pytest.mark.training
@pytest.mark.parametrize("place", places(), ids=str)
def test_the_short_campaign(place: Place, tmp_path: Path) -> None:
    if place.folder is not None and not (place.folder / "megatron").is_dir():
        pytest.skip(f"{place.folder} has no megatron-core {place.version}; `make releases` gets it from PyPI")
    environment = {**os.environ}
    if place.folder is not None:
        environment["PYTHONPATH"] = str(place.folder)
    xml = tmp_path / "results.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={xml}", str(CAMPAIGN)]
    run = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'inner'}"], env=environment, capture_output=True, text=True, check=False
    )
    cases = {case.attrib["name"]: len(case) == 0 for case in ElementTree.parse(xml).getroot().iter("testcase")}
    if os.environ.get(RESULTS):
        record(Path(os.environ[RESULTS]), str(place), cases)
    assert run.returncode == 0, run.stdout[-8000:]
    assert cases
    assert all(cases.values())
