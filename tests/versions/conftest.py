from pathlib import Path

import pytest

from tests.versions.campaigns import Campaign


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


# What gc sees
