"""`tokenfleet compress`: a smaller model folder from a model, by llm-compressor.

llm-compressor wants other versions of what vLLM wants, so it has an environment of its own
(`environment`), in which only `worker` runs. Here it is decided what is done (`recipes`, `job`),
and what came of it is written down (`manifest`).
"""
