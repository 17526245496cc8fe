"""Comet: an experiment for each path, whose key is the path's id."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.keys.trackers import CometSettings
from megatron_lrps.training.trackers.sender import Figure
from megatron_lrps.training.trackers.tracked_run import TrackedRun

OFFLINE = "comet"
"""The folder in a path's folder for experiments that are not sent, with a folder for each start.

Comet draws the name of its file from Python's generator, which Megatron seeds: two starts would draw the same name.
"""


class CometRun:
    """A path's experiment. The API key is Comet's own environment variable.

    Args:
        settings: ``trackers.comet``.
        run: The path.
        parameters: The arguments that the experiment shows.
    """

    label = "trackers.comet"

    def __init__(self, settings: CometSettings, run: TrackedRun, parameters: Mapping[str, FlagValue]) -> None:
        self._settings, self._run, self._parameters = settings, run, parameters
        self._experiment: Any = None

    def open(self) -> None:
        """Go on in the path's experiment, or make it."""
        # Comet would patch torch and TensorBoard when it is imported, and log by itself.
        os.environ["COMET_DISABLE_AUTO_LOGGING"] = "1"
        import comet_ml

        nothing_else = dict.fromkeys(
            ("log_code", "log_graph", "parse_args", "log_git_metadata", "log_git_patch", "log_env_details",
             "auto_output_logging", "auto_param_logging", "auto_metric_logging", "auto_log_co2"), False
        )  # fmt: skip
        config = comet_ml.ExperimentConfig(
            name=f"{self._run.group} {self._run.name}",
            tags=[self._run.group],
            display_summary_level=0,
            offline_directory=self._offline_folder(),
            **nothing_else,
        )
        self._experiment = comet_ml.start(
            workspace=self._settings.workspace,
            project_name=self._settings.project or self._run.group,
            experiment_key=self._run.id,
            mode="get_or_create",
            online=self._settings.online,
            experiment_config=config,
        )
        self._experiment.log_parameters(dict(self._parameters))
        self._experiment.log_others({f"lrps.{key}": value for key, value in self._run.facts.items()})

    def _offline_folder(self) -> str | None:
        if self._settings.online:
            return None
        folder = self._run.folder / OFFLINE / time.strftime("%Y%m%d-%H%M%S")
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def send(self, figures: Sequence[Figure]) -> None:
        """Add figures; their step is the iteration."""
        for each in figures:
            self._experiment.log_metric(each.name, each.value, step=each.step)

    def alert(self, kind: str, title: str, text: str) -> None:
        """Notify the experiment's owners, which Comet does online alone, and show the alert in it."""
        self._experiment.log_other("lrps.alert", f"{title}: {text}")
        self._experiment.send_notification(title, "alert", {"text": text})

    def close(self, state: str) -> None:
        """Send the rest, and end this start."""
        self._experiment.log_other("lrps.state", state)
        self._experiment.end()
