"""A larger model of the demo's kind: `python -m serve_app.demo.larger --out DIR`.

For measuring speed where the demo is too small to show any: 52 M parameters instead of 3 M, with
the demo's tokenizer and chat template. Its weights are random, so its answers mean nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from serve_app.demo import MODEL_PATH, model_files

SHAPE = {
    "hidden_size": 640,
    "intermediate_size": 1792,
    "num_hidden_layers": 10,
    "num_attention_heads": 10,
    "num_key_value_heads": 10,
    "head_dim": 64,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where the folder exists."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.demo.larger")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.out.exists():
        print(f"{args.out} exists", file=sys.stderr)
        return 1
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_PATH)
    config = LlamaConfig(**(model_files.build_config(tokenizer).to_dict() | SHAPE))
    model = LlamaForCausalLM(config)
    model_files.save(model, tokenizer, args.out)
    print(f"{args.out}: {model.num_parameters() / 1e6:.1f} M parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
