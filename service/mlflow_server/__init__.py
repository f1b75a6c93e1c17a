"""MLflow's server behind a door of ours: ``python -m service.mlflow_server`` in place of ``mlflow server``."""

SECRET = "MLFLOW_TRACKING_TOKEN"
"""The environment variable with the secret of the door: the one from which MLflow's client takes what it shows."""
