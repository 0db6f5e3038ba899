"""Tokenfleet beside its peers: `python -m loadtest.bench.peers`."""
