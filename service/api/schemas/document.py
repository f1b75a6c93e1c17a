"""The base of every answer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """The base of every answer. A string below a field is the field's description."""

    model_config = ConfigDict(use_attribute_docstrings=True)
