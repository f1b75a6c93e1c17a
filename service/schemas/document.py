"""The base of the documents with which the API answers.

The API describes its answers by these models, and the client reads the answers with them. A field that a newer service
has added is ignored by an older client.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """The base of every answer. The string under a field becomes the field's description in the OpenAPI schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)
