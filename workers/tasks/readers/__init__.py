"""Files of series: one reader for each format, all giving ``readers.series.Series``."""
