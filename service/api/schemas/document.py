"""The base of the documents with which the API answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """The base of every answer. The string under a field becomes the field's description in the OpenAPI schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)
