"""``trackers`` of the plan: where the figures of every path go besides TensorBoard."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from megatron_lrps.plan.keys.base import PlanModel

_CREDENTIALS = re.compile(r"://[^/@\s]*@")


def _address(value: str) -> str:
    if _CREDENTIALS.search(value):
        raise ValueError(
            "holds a user or a password, and the plan is no place for them; give them in the environment, as "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if not value.strip() or not value.isprintable():
        raise ValueError("is not an address; write one such as https://mlflow.example.org or sqlite:///mlflow.db")
    return value


Text = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]


class MlflowSettings(PlanModel):
    """``trackers.mlflow``: a run of MLflow for each path. Secrets stay in MLflow's environment variables."""

    uri: Annotated[str, AfterValidator(_address)] | None = None
    """The address of the tracking server or store. By default that of the environment (`MLFLOW_TRACKING_URI`)."""
    experiment: Text | None = None
    """The experiment that the runs belong to. By default it has the campaign's name."""


class CometSettings(PlanModel):
    """``trackers.comet``: an experiment of Comet for each path. The API key stays in `COMET_API_KEY`."""

    project: Text | None = None
    """The project that the experiments belong to. By default it has the campaign's name."""
    workspace: Text | None = None
    """The workspace of the project. By default your own one."""
    online: bool = True
    """Whether figures are sent as they come. `false` keeps them in files in the campaign's folder, for
    `comet upload`."""


class Trackers(PlanModel):
    """``trackers``: services that get every path's figures and alerts, besides TensorBoard.

    W&B needs no section of its own: give Megatron's flags `wandb-project` and `wandb-entity` under `megatron`.
    """

    mlflow: MlflowSettings | None = None
    """Send figures to MLflow, whose package must be installed where the ranks run."""
    comet: CometSettings | None = None
    """Send figures to Comet, whose package `comet_ml` must be installed where the ranks run."""
