"""The ASGI application that uvicorn serves: MLflow's own, behind the door. Import it in a server's process alone."""

from __future__ import annotations

import os

from mlflow.server.fastapi_app import app as mlflow_app

from service.background_work import lower_this_thread
from service.mlflow_server import SECRET
from service.mlflow_server.door import Door

lower_this_thread()  # which starts all others; not earlier, so that MLflow's import takes no longer
app = Door(mlflow_app, os.environ.get(SECRET, ""))
