"""Modules in a folder: ``save_pretrained``, ``from_pretrained``, and a model card; see module.py."""

from spectral.pretrained.module import PretrainedModule, from_pretrained

__all__ = ["PretrainedModule", "from_pretrained"]
