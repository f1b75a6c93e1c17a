"""Signed webhooks: the ends of sweeps and trials are told to the HTTP servers that the operator has named."""
