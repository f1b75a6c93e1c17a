"""Which environment variables the service's processes get, and which they leave to other programs.

The processes that ``spectral up`` starts get the variables of ``PASSED`` and no others, so that what is set for another
MLflow, Ray, web server or Python program neither moves nor stops them. A program of ours that the user starts with an
environment of its own, such as ``python -m service.controller``, keeps it, except for the variables of ``FOREIGN``.
docs/environment.md has both lists for users, and a test compares them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, MutableMapping

from service.proxies import no_proxy_on_loopback

PASSED: Mapping[str, tuple[str, ...]] = {
    "this service": ("SPECTRAL_*",),
    "the user and the system": (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "TMPDIR", "XDG_*"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_*", "GLIBC_TUNABLES"),
    ),
    "threads and arithmetic": (
        *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "NUMEXPR_*"),
        *(
            "ATEN_*",
            "ONEDNN_*",
            "DNNL_*",
            "PYTORCH_ALLOC_CONF",
            "PYTORCH_CUDA_ALLOC_CONF",
            "TORCH_HOME",
            "TORCHINDUCTOR_CACHE_DIR",
        ),
    ),
    "GPUs": ("CUDA_*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*", "HIP_*", "HSA_*", "ROCR_*", "ROCM_*", "TRITON_*"),
    "the compiler": ("CC", "CXX", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
    "downloads": (
        *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    ),
    "Ray's memory and logs": ("RAY_memory_usage_threshold", "RAY_memory_monitor_refresh_ms", "RAY_BACKEND_LOG_LEVEL"),
    "Python's packages of the user, and its bytecode": (
        *("PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
    ),
}
"""The variables that a stack's processes get, by what they are for. A ``*`` stands for any ending."""

FOREIGN = (
    *("MLFLOW_*", "_MLFLOW_*", "OTEL_*", "RAY_ADDRESS", "MPLBACKEND", "SSLKEYLOGFILE"),
    *("WEB_CONCURRENCY", "UVICORN_*", "FORWARDED_ALLOW_IPS"),
)
"""The variables that every program of ours leaves to others. A ``*`` stands for any ending."""
CREDENTIALS = (
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH"),
    *("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_INSECURE_TLS"),
    *("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_S3_*", "MLFLOW_GCS_*"),
)
"""Exceptions from ``FOREIGN``: how a controller is admitted to the MLflow of SPECTRAL_MLFLOW_URL and to its files."""

PASS_VARIABLE = "SPECTRAL_PASS_ENV"
"""The variable by which users pass further variables on: their names, with commas or blanks between."""


WITHHELD = ("SPECTRAL_TOKEN", "SPECTRAL_TOKEN_FILE")
"""How the user's own commands are admitted to a service. No process of a stack calls the API, so none gets it."""


def chosen(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a stack's processes get of an environment, with this machine added to ``no_proxy``."""
    wanted = [*(name for names in PASSED.values() for name in names), *_asked_for(environ)]
    kept = {name: value for name, value in environ.items() if _is_among(name, wanted) and name not in WITHHELD}
    return kept | no_proxy_on_loopback(environ)


def leave_to_others(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove the variables of ``FOREIGN`` from this process, and add this machine to its ``no_proxy``.

    Call it before ray, mlflow or uvicorn is imported: some variables are read only then.
    """
    for name in list(environ):
        if _is_among(name, FOREIGN) and not _is_among(name, CREDENTIALS) and not passes(name, environ):
            del environ[name]
    environ.update(no_proxy_on_loopback(environ))


def passes(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the user passes a variable on, by its name in ``PASS_VARIABLE``."""
    return _is_among(name, _asked_for(environ))


def _asked_for(environ: Mapping[str, str]) -> list[str]:
    return environ.get(PASS_VARIABLE, "").replace(",", " ").split()


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in patterns)
