"""Send journals to MLflow: one run per executed stage, under one parent run per pipeline state.

A run is found again by its tags `assay.stage` and `assay.stage_key`; a stage that was killed and resumed
goes on in the run it had. What was sent is acknowledged in the journal's folder (`sent.json`), so that a
server that dies between two calls costs nothing but a repeat of the last one.
"""

import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.artifacts import read_json, write_json, write_text
from stages.lib.clone import clone_folder
from stages.lib.journal import EVENTS, Parent

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "assay"
PARENT_STAGE = "pipeline"
CLONE_TAG = "assay.clone"
MAX_PARAM_CHARACTERS = 6000
"""MLflow cuts longer values without a word; we cut them and say so in a tag."""

BATCH = 500
"""Metrics in one call; the server takes 1,000."""


def clone_id() -> str:
    """Return a random name of this clone, made on first use: runs are resumed by who began them."""
    path = clone_folder() / "tracking" / "clone"
    if not path.exists():
        write_text(path, f"{secrets.token_hex(8)}\n")
    return path.read_text(encoding="utf-8").strip()


def configure(root: Path) -> str:
    """Set MLflow's environment: local SQLite unless a server is named, no telemetry, short waits."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    return os.environ["MLFLOW_TRACKING_URI"]


@dataclass
class Mirror:
    """A connection to one MLflow experiment; runs it has found are remembered by their tags."""

    client: "MlflowClient"
    experiment_id: str
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path) -> "Mirror":
        """Connect, and make the experiment on first use."""
        local = configure(root).startswith("sqlite:")
        from mlflow import MlflowClient

        client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = client.get_experiment_by_name(name)
        if found:
            return cls(client, found.experiment_id)
        # A server knows where its artifacts go; beside a local file they go into a folder of their own.
        place = (root / "mlartifacts").as_uri() if local else None
        return cls(client, client.create_experiment(name, place))

    def send(self, folder: Path) -> bool:
        """Send what is new in one journal; True when it has ended and everything is sent."""
        events = list(_events(folder / EVENTS))
        state: dict[str, Any] = {"events": 0}
        if (folder / "sent.json").exists():
            state = read_json(folder / "sent.json")
        if not events:
            return False
        run_id = state.get("run_id") or self._run_of(events[0])
        last_step = max(event.get("step", 0) for event in events)
        for position in range(state["events"], len(events)):
            # Final numbers stand at the last step: a curve must not jump back to its start.
            self._apply(run_id, folder, {"step": last_step} | events[position])
        write_json(folder / "sent.json", {"events": len(events), "run_id": run_id})
        return bool(events[-1]["event"] == "end")

    def end_killed(self, folder: Path) -> None:
        """Mark the run of a stage that died without a word."""
        sent = folder / "sent.json"
        if sent.exists():
            self.client.set_terminated(read_json(sent)["run_id"], "KILLED")

    def _run_of(self, start: Mapping[str, Any]) -> str:
        """Find the run of this stage key that goes on, or create one under its parent.

        A colleague may be computing the same stage of the same commit right now: only this clone's unfinished
        run goes on. A run with a title (a search, or a trial of one) is one for all that share the
        search: its key names the storage (`assay tune`).
        """
        stage, key, own = start["stage"], start["stage_key"], clone_id()
        title = start.get("title", "")
        goes_on = [run for run in self.find(stage, key) if title or _is_unfinished(run, own)]
        if goes_on:
            run_id = str(goes_on[0].info.run_id)
            self.client.update_run(run_id, "RUNNING")
            return run_id
        tags = _tags(start) | {CLONE_TAG: own, "mlflow.parentRunId": self._parent(start)}
        run = self.client.create_run(self.experiment_id, start["time"], tags, run_name=title or stage)
        self._describe(str(run.info.run_id), start)
        return str(run.info.run_id)

    def _parent(self, start: Mapping[str, Any]) -> str:
        parent = _parent_of(start)
        key = (parent.stage, parent.key)
        if key not in self.known:
            found = self.find(*key)
            self.known[key] = str(found[0].info.run_id) if found else self._create_parent(start, parent)
        return self.known[key]

    def _create_parent(self, start: Mapping[str, Any], parent: Parent) -> str:
        tags = _git_tags(start) | {"assay.stage": parent.stage, "assay.stage_key": parent.key}
        run = self.client.create_run(self.experiment_id, start["time"], tags, run_name=parent.name)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)

    def find(self, stage: str, key: str) -> list[Any]:
        """Return the runs of one stage key, newest first."""
        where = f"tags.`assay.stage` = '{stage}' and tags.`assay.stage_key` = '{key}'"
        return list(self.client.search_runs([self.experiment_id], where))

    def _describe(self, run_id: str, start: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, Param

        params = [Param(name, text[:MAX_PARAM_CHARACTERS]) for name, text in _param_texts(start)]
        self.client.log_batch(run_id, params=params)
        inputs = [
            DatasetInput(Dataset(name=path, digest=digest[:36], source_type="dvc", source=path))
            for path, digest in start["inputs"].items()
            if path.startswith("data/")
        ]
        self.client.log_inputs(run_id, inputs)

    def _apply(self, run_id: str, folder: Path, event: Mapping[str, Any]) -> None:
        if event["event"] in {"metrics", "end"}:
            self._log(run_id, event)
        if event["event"] != "end":
            return
        artifacts = folder / "artifacts"
        for path in sorted(artifacts.iterdir()) if artifacts.exists() else []:
            self.client.log_artifact(run_id, str(path))
        if event.get("reason"):
            self.client.set_tag(run_id, "assay.reason", event["reason"][:MAX_PARAM_CHARACTERS])
        self.client.set_terminated(run_id, event["status"], event["time"])

    def _log(self, run_id: str, event: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        values = {metric_name(name): value for name, value in event.get("values", {}).items()}
        step, time = event.get("step", 0), event["time"]
        metrics = [Metric(key, value, time, step) for key, value in values.items() if math.isfinite(value)]
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[first : first + BATCH])


def _is_unfinished(run: Any, clone: str) -> bool:
    return bool(run.data.tags.get(CLONE_TAG) == clone and run.info.status != "FINISHED")


def _parent_of(start: Mapping[str, Any]) -> Parent:
    """Return the run to nest in: the one that the journal names, else the pipeline state's."""
    if "parent" in start:
        return Parent(**start["parent"])
    key = start["pipeline_key"]
    return Parent(PARENT_STAGE, key, start["experiment"] or f"pipeline {key[:8]}")


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the journal's whole lines: a kill in mid-write can tear the last one only."""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _param_texts(start: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else json.dumps(value))
        for name, value in start["params"].items()
    ]


def _tags(start: Mapping[str, Any]) -> dict[str, str]:
    tags = {"assay.stage": start["stage"], "assay.stage_key": start["stage_key"]}
    tags |= {"assay.pipeline_key": start["pipeline_key"], "assay.command": start["command"]}
    cut = [name for name, text in _param_texts(start) if len(text) > MAX_PARAM_CHARACTERS]
    return tags | _git_tags(start) | ({"assay.cut_params": ", ".join(cut)} if cut else {})


def _git_tags(start: Mapping[str, Any]) -> dict[str, str]:
    dirty = str(start["git_dirty"]).lower()
    return {"mlflow.source.git.commit": start["git_commit"], "assay.git_dirty": dirty}


def metric_name(name: str) -> str:
    """Return `name` with what MLflow refuses in a metric's name replaced by `_`."""
    safe = re.sub(r"[^\w/ .-]", "_", name, flags=re.ASCII)
    return re.sub(r"\.\.+", "_", safe).strip("/")


def discard(folder: Path) -> None:
    """Remove a journal that is wholly sent."""
    shutil.rmtree(folder)
