"""MLflow: a run for each path, in the campaign's experiment, found again by a tag that holds its id."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.keys.trackers import MlflowSettings
from megatron_lrps.training.trackers.sender import Figure
from megatron_lrps.training.trackers.tracked_run import TrackedRun

ID_TAG = "lrps.run"
ALERT_TAG = "lrps.alert"
_STATES = {"finished": "FINISHED", "stopped": "SCHEDULED", "failed": "FAILED"}
"""State of a start -> MLflow's; a stopped path waits for its next start."""
_PARAMETERS = 100
"""The most parameters that MLflow takes at once."""
_LONGEST = 500
_UNKNOWN = re.compile(r"[^\w\-. :/]")


class MlflowRun:
    """A path's run. Secrets are MLflow's own environment variables.

    Args:
        settings: ``trackers.mlflow``.
        run: The path.
        parameters: The arguments that a new run shows.
    """

    label = "trackers.mlflow"

    def __init__(self, settings: MlflowSettings, run: TrackedRun, parameters: Mapping[str, FlagValue]) -> None:
        self._settings, self._run, self._parameters = settings, run, parameters
        self._client: Any = None
        self._id = ""

    def open(self) -> None:
        """Find the path's run, or make it; a run that a deleted experiment held is refused by MLflow."""
        from mlflow import MlflowClient

        self._client = client = MlflowClient(tracking_uri=self._settings.uri)
        experiment = self._experiment()
        found = client.search_runs([experiment], filter_string=f"tags.`{ID_TAG}` = '{self._run.id}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            client.update_run(self._id, status="RUNNING")
            return
        tags = {ID_TAG: self._run.id, **{f"lrps.{key}": value for key, value in self._run.facts.items()}}
        self._id = client.create_run(experiment, run_name=self._run.name, tags=tags).info.run_id
        self._show_parameters()

    def send(self, figures: Sequence[Figure]) -> None:
        """Add figures; their step is the iteration."""
        from mlflow.entities import Metric

        metrics = [Metric(_UNKNOWN.sub("_", name), value, int(at * 1000), step) for name, value, step, at in figures]
        self._client.log_batch(self._id, metrics=metrics)

    def alert(self, kind: str, title: str, text: str) -> None:
        """Set tags, for the latest alert and for the latest one of its kind: MLflow has no alerts."""
        for tag in (ALERT_TAG, f"{ALERT_TAG}.{kind}"):
            self._client.set_tag(self._id, tag, f"{title}: {text}"[:_LONGEST])

    def close(self, state: str) -> None:
        """Set the run's status."""
        self._client.set_terminated(self._id, _STATES[state])

    def _experiment(self) -> str:
        name = self._settings.experiment or self._run.group
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                # Another path's first start may have made it meanwhile.
                if (found := self._client.get_experiment_by_name(name)) is None:
                    raise
        return str(found.experiment_id)

    def _show_parameters(self) -> None:
        from mlflow.entities import Param

        shown = [Param(key, str(value)[:_LONGEST]) for key, value in self._parameters.items()]
        for begin in range(0, len(shown), _PARAMETERS):
            self._client.log_batch(self._id, params=shown[begin : begin + _PARAMETERS])
