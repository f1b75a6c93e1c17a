"""Readers of files of series, one module for each format; all return a ``readers.series.Series``."""
