"""A path as a tracker's run: its id stays, and no secret leaves the machine."""

from argparse import Namespace
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.trackers.tracked_run import RUN_ID, settings_without_secrets, tracked_run
from megatron_lrps.training.trackers.wandb_run import artifact_name
from tests.training.campaigns import write_campaign


def to_train(plan: Path, name: str) -> PathToTrain:
    campaign = Campaign.open(plan)
    return PathToTrain.of_plan(Planned(campaign=campaign, path=campaign.path(name)))


def test_a_paths_id_is_made_once_and_moves_with_the_campaign(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    plan = write_campaign(tmp_path / "a")
    main, branch = tracked_run(to_train(plan, "main")), tracked_run(to_train(plan, "v1"))
    assert main.id != branch.id
    assert (branch.group, branch.name) == ("tiny", "v1")
    assert branch.facts == {"campaign": "tiny", "path": "v1", "fork": "4", "end": "8", "parent": "main"}
    (tmp_path / "a").rename(tmp_path / "b")
    moved = to_train(tmp_path / "b" / "plan.yaml", "v1")
    assert tracked_run(moved).id == branch.id
    assert moved.folder is not None
    (moved.folder.root / RUN_ID).write_text('{"id": "torn')
    assert tracked_run(moved).id not in (branch.id, main.id)


def test_what_looks_like_a_secret_is_hidden_and_the_rest_is_shown() -> None:
    args = Namespace(
        hf_token="hf_1", wandb_api_key="k", secret="s", db_password="p", data="s3://ann:pw@store/x", blend=["a", 1],
        tokenizer_type="SentencePiece", num_special_tokens=3, key_channels=64, world=object(), nothing=None,
        moe_token_dispatcher_type="alltoall",
    )  # fmt: skip
    hidden = dict.fromkeys(("hf_token", "wandb_api_key", "secret", "db_password"), "(hidden)")
    plain = {"tokenizer_type": "SentencePiece", "num_special_tokens": 3, "key_channels": 64, "blend": ["a", 1]}
    shown = {"data": "s3://store/x", "moe_token_dispatcher_type": "alltoall"}
    assert settings_without_secrets(args) == hidden | plain | shown


def test_an_artifact_has_the_name_of_its_campaign_and_path(tmp_path: Path) -> None:
    path = to_train(write_campaign(tmp_path), "v1")
    assert artifact_name(path, path.own) == "tiny-v1"
    assert path.parent is not None
    assert artifact_name(path, path.parent) == "tiny-main"
    assert artifact_name(path, tmp_path / "elsewhere" / "checkpoints") is None
