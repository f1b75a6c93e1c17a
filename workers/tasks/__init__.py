"""The tasks: one line each. A new task is a file of its own and a line in ``TASKS`` and in ``AnyTask``."""

from typing import Annotated

from pydantic import Field

from workers.tasks.adding import Adding
from workers.tasks.digits import Digits
from workers.tasks.mnist import Mnist
from workers.tasks.task import MASKED, METRICS, Sequences, Split, Task

AnyTask = Annotated[Adding | Digits | Mnist, Field(discriminator="name")]
TASKS: dict[str, type[Task]] = {"adding": Adding, "digits": Digits, "mnist": Mnist}

__all__ = ["MASKED", "METRICS", "TASKS", "AnyTask", "Sequences", "Split", "Task"]
