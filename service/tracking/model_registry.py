"""Adding the model of a sweep's best trial to MLflow's model registry."""

from __future__ import annotations

import re
from collections.abc import Callable

from mlflow import MlflowClient, MlflowException

from service.tracking.mlflow_experiments import MISSING, TAKEN
from service.tracking.mlflow_runs import SWEEP_TAG

FORM_TAG = "spectral.form"
"""The tag of a version with the form of the network: ``spectral``, or that of ``plain_models`` without our code."""
CANDIDATE = "candidate"
"""The alias of the newest version that the service has registered under a name."""


def register(
    client: MlflowClient,
    run_id: str,
    model_id: str,
    name: str,
    sweep_id: str,
    description: str = "",
    form: str = "spectral",
) -> str | None:
    """Add a run's model to the registry as a new version, unless some registered model has one of this run and form.

    The version gets the alias ``candidate``, which moves to it from an earlier one.

    Args:
        client: The client of the MLflow server.
        run_id: The run that the model was logged to.
        model_id: The id of the logged model.
        name: The sweep's name. ``registry_name`` of it is the registered model, which is created if necessary.
        sweep_id: The sweep, which is stored as a tag of the version.
        description: What the version is, in Markdown.
        form: The form of the network.

    Returns:
        Why the model cannot be added, for a person to read; None if the registry has it.
    """
    if _is_registered(client, run_id, form, sweep_id):
        return None
    if not _exists(client.get_logged_model, model_id):
        return "its best model is not in the model registry: it was deleted in MLflow before"
    name = registry_name(name)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != TAKEN:
            raise
        if not _exists(client.get_registered_model, name):
            return (
                f"its best model is not in the model registry, where {name!r} is the name of a prompt. Register the "
                "model under another name on its page in MLflow"
            )
    client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id,
        tags={SWEEP_TAG: sweep_id, FORM_TAG: form},
        description=description or None,
        model_id=model_id,
        await_creation_for=0,
    )
    # an earlier call whose reply was lost may have been carried out after the search
    _is_registered(client, run_id, form, sweep_id)
    return None


def _is_registered(client: MlflowClient, run_id: str, form: str, sweep_id: str) -> bool:
    """Return whether some registered model has a version of a run in this form.

    Of several that we made, the first is kept. It has the alias afterwards.
    """
    versions = client.search_model_versions(f"run_id = '{run_id}'")
    found = [version for version in versions if version.tags.get(FORM_TAG, "spectral") == form]
    ours = sorted((v for v in found if v.tags.get(SWEEP_TAG) == sweep_id), key=lambda v: (v.name, int(v.version)))
    for extra in ours[1:]:
        client.delete_model_version(extra.name, str(extra.version))
    for version in ours[:1]:
        client.set_registered_model_alias(version.name, CANDIDATE, str(version.version))
    return bool(found)


def registry_name(name: str) -> str:
    """Return a sweep's name with a hyphen for each character that the registry or its search does not accept.

    A name that is only spaces becomes ``sweep``.
    """
    return re.sub(r"[/:'\"`\\]", "-", name).strip() or "sweep"


def _exists(get: Callable[[str], object], name: str) -> bool:
    """Return whether MLflow has what ``get`` asks it for by its id or name."""
    try:
        get(name)
    except MlflowException as error:
        if error.error_code == MISSING:
            return False
        raise
    return True
