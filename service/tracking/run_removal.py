"""Removes from MLflow what belongs to a deleted sweep: runs, their artifacts and their logged models.

MLflow deletes a run or a model by moving it to its trash, where its artifacts stay until somebody runs ``mlflow gc``.
The artifacts, among them the copies of checkpoints, are what takes space; so they are deleted first.

A run of which the model registry has a version stays, with its model and its artifacts, whoever has registered it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import requests
from mlflow import MlflowException
from mlflow.entities import LoggedModel, Run, ViewType

from service.tracking import logged_models
from service.tracking.error_words import broke_off, in_words
from service.tracking.mlflow_experiments import MISSING
from service.tracking.mlflow_runs import MODEL_TAG, SWEEP_TAG, Runs

log = logging.getLogger(__name__)

AT_ONCE = 100
"""How many runs one call of ``remove_some`` removes at most."""
KEPT_TAG = "spectral.kept_for"
"""The tag of a run that stays although its sweep was deleted: what needs it."""


def remove_some(runs: Runs, experiment_ids: Sequence[str], sweep_id: str) -> bool:
    """Remove up to ``AT_ONCE`` runs of a deleted sweep from MLflow, and return whether there may be more.

    Runs are found by their tag, so that one whose creation was answered to nobody is found too.

    Args:
        runs: The service's runs in MLflow.
        experiment_ids: The experiments in which the sweep had runs, as far as is known; the others in which sweeps have
            begun are searched too.
        sweep_id: The sweep.

    Raises:
        mlflow.MlflowException: If MLflow refuses a call or does not answer.
    """
    known = {experiment_id for experiment_id in experiment_ids if runs.experiments.get(experiment_id) is not None}
    searched = sorted(known.union(runs.experiments.ours()))
    if not searched:
        return False
    query, token = f"tags.`{SWEEP_TAG}` = '{sweep_id}'", None
    kept: set[str] = set()
    while True:
        page = runs.client.search_runs(searched, query, ViewType.ACTIVE_ONLY, max_results=AT_ONCE, page_token=token)
        registered = _registered(runs, [run.info.run_id for run in page])
        for run in page:
            if run.info.run_id in registered:
                runs.log(run.info.run_id, [], {KEPT_TAG: "a version in the model registry"})
            else:
                _remove_run(runs, run)
        if len(registered) < len(page):
            return True  # what is left stands on other pages now
        kept |= registered
        token = page.token
        if not token:
            break
    for model in logged_models.of_sweep(runs.client, searched, sweep_id):
        if model.source_run_id not in kept:
            _remove_model(runs, model)
    return False


def _registered(runs: Runs, run_ids: Sequence[str]) -> set[str]:
    """Return those of some runs, at most ``AT_ONCE``, of which some registered model has a version."""
    if not run_ids:
        return set()
    found: set[str] = set()
    token: str | None = None
    query = f"run_id IN ({', '.join(repr(run_id) for run_id in run_ids)})"
    while True:
        page = runs.client.search_model_versions(query, page_token=token)
        found |= {version.run_id for version in page if version.run_id}
        token = page.token
        if not token:
            return found & set(run_ids)


def _remove_run(runs: Runs, run: Run) -> None:
    run_id, model_id = run.info.run_id, run.data.tags.get(MODEL_TAG)
    if model_id is not None:
        try:
            _remove_model(runs, runs.client.get_logged_model(model_id))
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
    _delete_artifacts(runs, run.info.artifact_uri, run_id)
    runs.client.delete_run(run_id)


def _remove_model(runs: Runs, model: LoggedModel) -> None:
    _delete_artifacts(runs, model.artifact_location, model.model_id)
    runs.client.delete_logged_model(model.model_id)


def _delete_artifacts(runs: Runs, location: str, owner: str) -> None:
    """Delete the artifacts at a location, which must bear the id of the run or model that they belong to.

    If that is not possible, they stay with the run or model in MLflow's trash, for ``mlflow gc``.
    """
    if owner not in location:
        log.warning("the artifacts of %s lie in %s, which has another name; they stay", owner, location)
        return
    try:
        runs.delete_artifacts(location)
    except (MlflowException, requests.RequestException, OSError, NotImplementedError) as error:
        if broke_off(error):
            raise
        log.warning("the artifacts of %s stay in MLflow's trash, for mlflow gc: %s", owner, in_words(error))
