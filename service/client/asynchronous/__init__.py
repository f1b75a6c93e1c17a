"""The clients for an event loop, of which `make blocking-client` makes those of `service.client.blocking`."""
