"""The embedded demo model: a tiny Llama that answers a small, known world correctly.

`MODEL_PATH` is a folder that `transformers` and vLLM load as it is. Importing this package loads
nothing else; the corpus, the tokenizer and the training that made the folder are in the other
modules.
"""

from pathlib import Path

MODEL_PATH: Path = Path(__file__).parent / "model"

__all__ = ["MODEL_PATH"]
