"""Control plane of spectral-rnn-service: API, controller, store, MLflow projection, client and command line."""

from spectral_rnn_service import check_extra, check_packages

check_packages("workers", "spectral")
check_extra("service", "pydantic", "httpx", "typer")
