"""Data plane of spectral-rnn-service: sweeps as documents, tasks, models, training and the runners of packs."""


def _check_environment() -> None:
    """Raise ImportError if ``spectral`` is another project's package or the extra ``[train]`` is not installed."""
    from spectral_rnn_service import check_extra, check_packages

    check_packages("spectral")
    check_extra("train", "pydantic")


# a logged model has a copy of this package under another name, which is self-contained
if __name__ == "workers":
    _check_environment()
