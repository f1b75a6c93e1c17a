"""The tasks that a sweep can train on.

A new task is a file in this folder, an entry in ``TASKS`` and a member of ``AnyTask``.
"""

from typing import Annotated

from pydantic import Field

from workers.tasks.adding import Adding
from workers.tasks.copy_memory import Copy
from workers.tasks.digits import Digits
from workers.tasks.images import Images
from workers.tasks.mnist import Mnist
from workers.tasks.own_data import OwnData
from workers.tasks.ptb import PtbChar, PtbWord
from workers.tasks.task import MASKED, METRICS, Sequences, Split, Task
from workers.tasks.text import Text
from workers.tasks.ucr import Ucr

AnyTask = Annotated[
    Adding | Copy | Digits | Mnist | Images | PtbChar | PtbWord | Text | OwnData | Ucr, Field(discriminator="name")
]
"""Any of the tasks; its field ``name`` says which."""

TASKS: dict[str, type[Task]] = {
    "adding": Adding,
    "copy": Copy,
    "digits": Digits,
    "mnist": Mnist,
    "images": Images,
    "ptb_char": PtbChar,
    "ptb_word": PtbWord,
    "text": Text,
    "own_data": OwnData,
    "ucr": Ucr,
}
"""The task classes by name."""

__all__ = ["MASKED", "METRICS", "TASKS", "AnyTask", "Sequences", "Split", "Task"]
