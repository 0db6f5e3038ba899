"""Benchmarks: `python -m loadtest.bench.overhead` is Tokenfleet's cost over a bare vLLM server,
`python -m loadtest.bench.peers` sets it beside Ray Serve LLM too."""
