"""Load generation and measurement for any OpenAI-compatible server.

Nothing here imports `serve_app`: a bare vLLM server is measured with the same code as a cluster.
Metric definitions live in `loadtest/metrics.py`, once.
"""
