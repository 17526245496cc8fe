"""The gate of a promotion, over scores that were written down: exports and engines are other tests'."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.integrity import VerifiedCheckpoint
from megatron_lrps.campaign.lineage import Facts
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.releases import notes_of
from megatron_lrps.campaign.scores import Results
from megatron_lrps.convert.version_checkpoint import VersionCheckpoint
from megatron_lrps.convert.version_export import ExportedVersion
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate import promotion as module
from megatron_lrps.evaluate.promotion import Promoted, promote
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.keys.scoring_and_release import Evaluation

PLAN = """
campaign: tiny
save: runs
sequence_length: 16
global_batch_size: 8
versions: [{name: v1, iters: 10}, {name: v2, iters: 10}]
"""
Promote = Callable[..., Promoted]


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder(tmp_path / "runs")


@pytest.fixture
def promoted(campaign: CampaignFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Promote:
    """`promoted(gate text or None, ppl=...)`: v2 of perplexity 2, beside v1 of 1, by the hash `sha256`."""
    whole = Campaign(expand(parse_plan(PLAN, base=tmp_path)))

    def score(path: str, iteration: int, sha256: str, ppl: float) -> Results:
        results = Results(campaign, path, iteration, sha256)
        results.perplexity["v1-web"] = {"perplexity": ppl}
        results.write()
        return results

    def run(
        gate: str | None, *, ppl: float = 2.0, despite: bool = False, sha256: str = "aa", path: str = "v2"
    ) -> Promoted:
        checkpoint = Checkpoint(campaign.path(path).checkpoints, 20)
        facts = Facts(name=path, record="read", values={})
        version = VersionCheckpoint(whole, path, facts, checkpoint, sha256)
        version.export.mkdir(parents=True, exist_ok=True)
        (version.export / "README.md").write_text("card\n")
        file = tmp_path / "gate.txt"
        file.write_text(gate or "")
        score("v1", 10, "bb", 1.0)
        monkeypatch.setattr(
            module,
            "verify_one",
            lambda *_: VerifiedCheckpoint(path=path, checkpoint=checkpoint, state="whole"),
        )
        monkeypatch.setattr(module, "source_of_version", lambda version, **_: version)
        monkeypatch.setattr(module, "standing_export", lambda *_: None)
        monkeypatch.setattr(
            module, "export_to_hugging_face", lambda *_, **__: ExportedVersion(version.export, None, "", None)
        )
        monkeypatch.setattr(module, "evaluate", lambda *_, **__: score(path, 20, sha256, ppl))
        return promote(
            version,
            Evaluation(),
            task_folder=None,
            gate=file if gate else None,
            despite=despite,
            check=False,
            dtype=None,
            say=print,
        )

    return run


def named(campaign: CampaignFolder, event: str, path: str = "v2") -> list[dict[str, Any]]:
    return [each for each in events(campaign.path(path)) if each["event"] == event]


def test_without_a_gate_nothing_is_asked(promoted: Promote, campaign: CampaignFolder) -> None:
    assert promoted(None).fresh
    assert notes_of(campaign.path("v2"))["released"]["v2"]["gate"] == []
    assert not promoted(None).fresh


# Gates after `ppl/web <= 1.5 * v1` was not met by a perplexity of 2.
@pytest.mark.parametrize(
    "gate", [None, "ppl/web <= 3\n", "ppl/web <= 1.5 * v1\n", "ppl/web<=1.5*v1 # other spelling\n"]
)
def test_what_has_not_met_a_gate_is_released_by_no_other(
    promoted: Promote, campaign: CampaignFolder, gate: str | None
) -> None:
    with pytest.raises(RefusedError, match=r"does not meet .*gate\.txt: ppl/web <= 1\.5 \* v1: 2 <= 1\.5"):
        promoted("ppl/web <= 1.5 * v1\n")
    with pytest.raises(RefusedError, match="does not hold") as refusal:
        promoted(gate)
    assert "it is not released; train a better one, or say --despite-failed-gate" in refusal.value.fix
    assert not named(campaign, "released")
    # The same numbers are no news.
    assert len(named(campaign, "gate_failed")) == (2 if gate and gate.startswith("ppl/web<=") else 1)


def test_the_record_says_what_it_does_not_meet(promoted: Promote, campaign: CampaignFolder) -> None:
    with pytest.raises(RefusedError):
        promoted("ppl/web <= 1.5 * v1\n")
    done = promoted(None, despite=True)
    assert [each.condition.text for each in done.unmet] == ["ppl/web <= 1.5 * v1"]
    record = notes_of(campaign.path("v2"))["released"]["v2"]
    assert list(record["unmet"]) == ["ppl/web <= 1.5 * v1"]
    assert "although it does not meet its gate" in (done.export / "README.md").read_text()
    # What was released so stays so: a job that runs again is not refused, and says it again.
    again = promoted(None)
    assert (again.fresh, len(again.unmet)) == (False, 1)
    with pytest.raises(RefusedError) as refusal:
        promoted("ppl/web <= 1.2 * v1\n")  # another condition
    assert refusal.value.fix.startswith("it was released before, and that stands; ")


def test_a_condition_that_holds_by_newer_scores_is_met(promoted: Promote, campaign: CampaignFolder) -> None:
    with pytest.raises(RefusedError):
        promoted("ppl/web <= 1.5 * v1\n")
    done = promoted(None, ppl=1.4)  # the same checkpoint, scored on more tokens
    assert (done.fresh, done.unmet) == (True, [])
    assert notes_of(campaign.path("v2"))["released"]["v2"]["gate"] == [
        "ppl/web <= 1.5 * v1: 1.4 <= 1.5 (v1 has 1) holds"
    ]


def test_another_checkpoint_or_path_is_judged_for_itself(promoted: Promote, campaign: CampaignFolder) -> None:
    with pytest.raises(RefusedError):
        promoted("ppl/web <= 1.5 * v1\n")
    assert promoted(None, sha256="cc").fresh
    assert promoted(None, path="main").fresh


def test_a_gate_that_asks_for_a_score_that_is_not_there_is_no_failure(
    promoted: Promote, campaign: CampaignFolder
) -> None:
    with pytest.raises(RefusedError, match="has no score acc/arc"):
        promoted("acc/arc >= 0.5\n")
    assert not named(campaign, "gate_failed")
