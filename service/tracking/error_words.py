"""What an error of MLflow's client means, and what to do about it, in words for the health page."""

from __future__ import annotations

import requests
from mlflow import MlflowException

RETRIED = "it is tried again"
BROKE_OFF = f"the connection to MLflow broke off; {RETRIED}"


def broke_off(error: BaseException | None) -> bool:
    """Return whether a call failed because its connection broke off or was too slow, so that its effect is unknown.

    MLflow's client raises its own exception then, and the connection's error is what that one was raised for.
    """
    while error is not None:
        if isinstance(error, requests.HTTPError | requests.exceptions.RetryError):
            return False  # the server has answered
        if isinstance(error, requests.RequestException | ConnectionError | TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def in_words(error: BaseException) -> str:
    """Return what an error means that came while a sweep was written to MLflow, which answers its health check.

    The library's own message is left out: it is for programmers, and the controller's log has it.
    """
    if broke_off(error):
        return BROKE_OFF
    if isinstance(error, MlflowException):
        code = str(error.error_code)
        if error.get_http_status_code() >= 500:  # type: ignore[no-untyped-call]
            return (
                f"MLflow failed while it stored something ({code}); its own log says why. Its disk may be full, or its "
                f"database or the folder of its artifacts missing or not writable; {RETRIED}"
            )
        return f"MLflow refused a call ({code}); the controller's log has the call and the refusal; {RETRIED}"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return (
            f"MLflow answered {error.response.status_code} to an upload of files; its own log says why. The folder of "
            f"its artifacts may be missing, full or not writable; {RETRIED}"
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"a file could not be read or written ({where}{error.strerror}); {RETRIED}"
    return f"an unexpected error ({type(error).__name__}); the controller's log says where; {RETRIED}"
