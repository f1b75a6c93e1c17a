"""The study of the paper's claims: sweeps of examples/paper run through the service, told in docs/results.md."""
