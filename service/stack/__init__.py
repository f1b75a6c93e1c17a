"""Run the whole service on one machine: start, restart and stop Ray, MLflow, the API and the controller together."""

from service.stack.errors import HomeBusy, HomeOpen, HomeUnusable, PortTaken, SamePort, StackFailed
from service.stack.foreground import up
from service.stack.stack import Stack

__all__ = ["HomeBusy", "HomeOpen", "HomeUnusable", "PortTaken", "SamePort", "Stack", "StackFailed", "up"]
