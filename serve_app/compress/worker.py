"""One stage of a recipe, in llm-compressor's environment: `python worker.py JOB`. Runs alone there:
nothing of Tokenfleet is installed beside it.

JOB is a JSON file: source and out (folders), modifiers ([name, what it is given]), samples (None
without calibration), seed, max_seq_tokens, dtype (that the result computes in). Prints a JSON
object at last: kept (linear layers that were left), zero_frac (of the others' weights).
"""

from __future__ import annotations

import json
import random
import sys
from math import prod
from pathlib import Path
from typing import Any

CONFIG = "config.json"


def main(path: str) -> None:
    import numpy
    import torch
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = json.loads(Path(path).read_text())
    random.seed(job["seed"])
    numpy.random.seed(job["seed"])
    torch.manual_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["source"])
    model = AutoModelForCausalLM.from_pretrained(job["source"], dtype="auto")
    given: dict[str, Any] = {"model": model, "recipe": _modifiers(job["modifiers"])}
    if job["samples"] is not None:
        given |= {
            "dataset": _dataset(tokenizer, job["samples"], job["max_seq_tokens"]),
            "num_calibration_samples": len(job["samples"]),
            "max_seq_length": job["max_seq_tokens"],
            "shuffle_calibration_samples": False,
            "pipeline": "sequential",  # one layer's activations in memory at a time
        }
    oneshot(**given)
    zero_frac, kept = _zeros(torch, model)
    _save(model, tokenizer, Path(job["source"]), Path(job["out"]), job["dtype"])
    print(json.dumps({"kept": kept, "zero_frac": zero_frac}))


def _save(model: Any, tokenizer: Any, source: Path, out: Path, dtype: str) -> None:
    """What is not rounded is stored as the source stores it, which may be smaller than what it is
    computed in (`dtype`)."""
    stored = _stored_dtype(source)
    for module in model.modules():
        if not hasattr(module, "quantization_scheme"):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(stored)
    model.save_pretrained(out, save_compressed=True)
    tokenizer.save_pretrained(out)
    config = json.loads((out / CONFIG).read_text())
    config["dtype"] = dtype
    (out / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _stored_dtype(source: Path) -> Any:
    """Of the largest tensor of its first file, an embedding or what is as good for this."""
    from safetensors import safe_open

    with safe_open(min(source.glob("*.safetensors")), "pt") as tensors:
        sizes = {name: prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118  # it is no mapping
        return tensors.get_tensor(max(sizes, key=sizes.__getitem__)).dtype


def _modifiers(named: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.pruning import SparseGPTModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier

    known = {
        each.__name__: each for each in (GPTQModifier, SparseGPTModifier, QuantizationModifier)
    }
    return [known[name](**given) for name, given in named]


def _dataset(tokenizer: Any, samples: list[dict[str, Any]], most_tokens: int) -> Any:
    from datasets import Dataset

    def text(sample: dict[str, Any]) -> str:
        if "text" in sample:
            return str(sample["text"])
        tools = sample.get("tools") or None
        return str(tokenizer.apply_chat_template(sample["messages"], tools=tools, tokenize=False))

    rows = [
        tokenizer(text(each), truncation=True, max_length=most_tokens, add_special_tokens=False)
        for each in samples
    ]
    return Dataset.from_list(
        [{"input_ids": row["input_ids"], "attention_mask": row["attention_mask"]} for row in rows]
    )


def _zeros(torch: Any, model: Any) -> tuple[float, list[str]]:
    """The share of zeros in what was compressed, and which linear layers were not."""
    zeros = weights = 0
    kept = []
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        layer_zeros = int((layer.weight == 0).sum())
        if not hasattr(layer, "quantization_scheme") and layer_zeros * 4 < layer.weight.numel():
            kept.append(name)
            continue
        zeros, weights = zeros + layer_zeros, weights + layer.weight.numel()
    return (zeros / weights if weights else 0.0), kept


if __name__ == "__main__":
    main(sys.argv[1])
