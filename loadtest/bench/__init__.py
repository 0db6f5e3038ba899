"""Benchmarks: `python -m loadtest.bench.overhead` is Tokenfleet's cost over a bare vLLM server."""
