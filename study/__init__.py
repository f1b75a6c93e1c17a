"""The study of the paper's claims: it runs the sweeps of examples/paper and writes docs/results.md."""
