"""The results of the releases' tests: `make test-releases` writes them, and docs/ shows them."""

import json
from collections.abc import Mapping
from pathlib import Path

RESULTS = "LRPS_RELEASES_RESULTS"
"""The environment variable that names the file to which a run adds its results."""


def record(file: Path, release: str, cases: Mapping[str, bool]) -> None:
    """Add a release's results, test -> whether it passed, to the file; those of the same tests are replaced."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known[release] = {**known.get(release, {}), **cases}
    file.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
