"""Benchmarks against torch and other peers; docs/benchmarks.md explains them and shows their results."""
