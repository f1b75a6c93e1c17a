"""The whole service on one machine: Ray, MLflow, the API and the controller, started, watched and stopped together."""

from service.stack.errors import HomeBusy, HomeUnusable, PortTaken, SamePort, StackFailed
from service.stack.foreground import up
from service.stack.stack import Stack

__all__ = ["HomeBusy", "HomeUnusable", "PortTaken", "SamePort", "Stack", "StackFailed", "up"]
