"""Pictures of a task's data: ``draw`` writes one sequence of a task to an image file."""

from workers.tasks.pictures.draw import draw

__all__ = ["draw"]
