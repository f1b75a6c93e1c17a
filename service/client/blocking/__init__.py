"""The blocking clients, written by `make blocking-client` from `service.client.asynchronous`."""
