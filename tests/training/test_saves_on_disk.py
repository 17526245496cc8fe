"""Whether the saves of a run fit on the disk."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.errors import RefusedError
from megatron_lrps.training import saves_on_disk as module
from megatron_lrps.training.saves_on_disk import bytes_needed, refuse_full_disk, saves_left
from tests.campaign.checkpoints import save
from tests.training.test_run_summary import args_of, run_of


def test_saves_by_interval_at_forks_and_at_the_end(tmp_path: Path) -> None:
    main = run_of(tmp_path, "main")
    assert saves_left(main, 0, 500) == 4  # 400, 500, 1000, 1400
    assert saves_left(main, 500, 500) == 2
    assert saves_left(main, 0, None) == 2
    assert saves_left(run_of(tmp_path, "v1"), 400, 500) == 2  # 500, 1000


def test_what_they_take(tmp_path: Path) -> None:
    run = run_of(tmp_path, "main")
    save(run.own, 400)
    for name in ("metadata.json", ".metadata"):
        (Checkpoint(run.own, 400).folder / name).write_bytes(b"x" * 500)
    start = StartPoint(checkpoint=Checkpoint(run.own, 400), forked=False)
    assert bytes_needed(run, start, args_of()) == 3 * 1000
    scratch = StartPoint(checkpoint=None, forked=False)
    assert bytes_needed(run, scratch, args_of()) is None
    model = {"num-layers": 1, "hidden-size": 8, "num-attention-heads": 1, "bf16": True}
    sized = run_of(tmp_path, "main", megatron=model)
    # 4 x 64 of attention, 8 x 64 of the MLP, 32,768 x 8 of embeddings, 3 x 8 of norms; 14 bytes each, four saves
    assert bytes_needed(sized, scratch, args_of()) == (256 + 512 + 262144 + 24) * 14 * 4
    # What Megatron has built counts, whatever the plan says.
    assert bytes_needed(sized, scratch, args_of(padded_vocab_size=128)) == (256 + 512 + 1024 + 24) * 14 * 4


def test_a_full_disk_is_refused_unless_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"num-layers": 1, "hidden-size": 8, "num-attention-heads": 1, "bf16": True}
    run = run_of(tmp_path, "main", megatron=model)
    scratch = StartPoint(checkpoint=None, forked=False)
    refuse_full_disk(run, scratch, args_of())
    monkeypatch.setattr(module, "free_bytes", lambda folder: 10 * 2**20)
    with pytest.raises(RefusedError, match=r"10\.0 MiB are free at .*, and 4 saves will take 14\.0 MiB"):
        refuse_full_disk(run, scratch, args_of())
    refuse_full_disk(run, scratch, args_of(lrps_allow=["disk"]))
