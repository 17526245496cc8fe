"""Every error of the family has its exit code, and its word in a path's history."""

import pytest

from megatron_lrps.errors import LrpsError, PlanError, RefusedError, StoppedError, StorageError


@pytest.mark.parametrize(
    ("kind", "code", "event"),
    [
        (LrpsError, 1, "failed"),
        (StorageError, 74, "storage"),
        (StoppedError, 75, "stopped"),
        (RefusedError, 78, "refused"),
        (PlanError, 78, "refused"),
    ],
)
def test_codes_and_words(kind: type[LrpsError], code: int, event: str) -> None:
    error = kind("it is 1, but 2 was meant.", "give 2.")
    assert (error.exit_code, error.event, str(error)) == (code, event, "it is 1, but 2 was meant. Fix: give 2.")
