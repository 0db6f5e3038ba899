"""The demo model's shape, and how its folder is written: everything `transformers` and vLLM need,
in one atomic move.

The numbers suit serving, not records: 8 attention and 4 KV heads split over tensor parallel 2 or
4, head_dim 32 is the smallest that vLLM's CPU attention takes, and the context of 4096 lets a
load test ask for long outputs. Weights are stored as float16 (half the size) and served as
float32; what is evaluated is what is stored.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from serve_app.demo.tokenizer import CONTEXT_TOKENS


def build_config(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def save(model: LlamaForCausalLM, tokenizer: Any, folder: Path) -> None:
    """Replaces the folder's model by this one; a reader sees the old files or the new ones."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fresh, old = Path(scratch) / "fresh", Path(scratch) / "old"
        stored = LlamaForCausalLM(model.config).half()
        stored.load_state_dict(model.state_dict())
        stored.generation_config = GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        )
        stored.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        _declare_how_it_is_served(fresh)
        fresh.chmod(0o755)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _declare_how_it_is_served(folder: Path) -> None:
    """float32 in spite of the stored float16, a tokenizer class that every release knows, and files
    that anyone may read (safetensors makes them private)."""
    config = LlamaConfig.from_pretrained(folder)
    config.dtype = torch.float32
    config.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for each in folder.iterdir():
        each.chmod(0o644)
