"""The mark `slurm` and a cluster for its tests: `make test-slurm` runs them, where a cluster can be started."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.slurm.submitted import Submitted
from tests.training.campaigns import write_campaign


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slurm: starts a real Slurm cluster on this machine; run by `make test-slurm`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    asked = os.environ.get("LRPS_TEST_SLURM") == "1"
    for item in items:
        if item.get_closest_marker("slurm") and (reason := missing() if asked else "run by `make test-slurm`"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failed test, show what the controller has said last: why a job began anew, or a node was lost."""
    report = yield
    submitted = getattr(item, "funcargs", {}).get("submitted")
    if report.failed and submitted is not None:
        lines = (submitted.cluster.folder / "log" / "slurmctld").read_text().splitlines()
        report.sections.append(("slurmctld", "\n".join(lines[-40:])))
    return report


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes of eight CPUs and eight GPUs that are none."""
    with Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def submitted(cluster: Cluster, tmp_path: Path) -> Iterator[Submitted]:
    """A campaign of two versions, TP=2 x DP=2 on four nodes; its jobs are gone when the test ends."""
    plan = write_campaign(tmp_path, extra=", tensor-model-parallel-size: 2", processes=4)
    campaign = Submitted(cluster, plan)
    campaign.change("launch: {", 'launch: {slurm: {nodes: 4, gpus_per_node: 1, partition: main, time: "00:30:00"}, ')
    yield campaign
    campaign.close()
