"""Trains and evaluates the embedded demo model: `python -m serve_app.demo.train --seed 0 --out DIR`, or `--evaluate`.

Training takes about half an hour on two CPU cores and needs no data: the corpus is generated from the seed. Matrices are trained
with Muon and the rest with AdamW, in bfloat16 autocast over float32 weights. `--evaluate` measures the committed model on held-out
items with plain transformers and fails if any task is under 95 %.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from serve_app.demo import MODEL_PATH, batches, evaluation, model_files
from serve_app.demo.tokenizer import train_tokenizer

STEPS = 1_600
DOCUMENTS_PER_STEP = 64
WARMUP_STEPS = 50
DECAY_FRAC = 0.6  # the last part of training, in which the learning rates fall to zero
MUON_RATE = 6e-3
ADAMW_RATE = 4e-3
LOG_EVERY_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    model: LlamaForCausalLM
    final_loss: float  # mean over the last LOG_EVERY_STEPS steps, nats per target token
    train_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=MODEL_PATH)
    parser.add_argument("--evaluate", action="store_true", help="measure the model in --out")
    options = parser.parse_args(arguments)
    if options.evaluate:
        scores = evaluation.evaluate(options.out, options.seed)
        return 0 if evaluation.passed(scores) else 1

    torch.manual_seed(options.seed)
    tokenizer = train_tokenizer(options.seed)
    outcome = train(tokenizer, options.seed, options.steps)
    model_files.save(outcome.model, tokenizer, options.out)
    scores = evaluation.evaluate(options.out, options.seed)
    record = {
        "command": f"python -m serve_app.demo.train --seed {options.seed} --steps {options.steps}",
        "seed": options.seed,
        "parameters": outcome.model.num_parameters(),
        "train_s": round(outcome.train_s),
        "final_loss": round(outcome.final_loss, 4),
        "held_out": {task: score.as_record() for task, score in scores.items()},
    }
    path = options.out / "evaluation.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if evaluation.passed(scores) else 1


def train(tokenizer: Any, seed: int, step_count: int) -> Outcome:
    model = LlamaForCausalLM(model_files.build_config(tokenizer)).train()
    optimizers = _optimizers(model)
    started_at_s = time.monotonic()
    losses: list[float] = []
    stream = batches.steps(tokenizer, Random(f"train {seed}"), DOCUMENTS_PER_STEP)
    for step in range(step_count):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * rate_frac(step, step_count)
        losses.append(_accumulate(model, next(stream)))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % LOG_EVERY_STEPS == LOG_EVERY_STEPS - 1:
            elapsed_s = time.monotonic() - started_at_s
            print(f"step {step + 1} loss {_recent(losses):.4f} after {elapsed_s:.0f} s", flush=True)
    return Outcome(
        model=model.eval(), final_loss=_recent(losses), train_s=time.monotonic() - started_at_s
    )


def rate_frac(step: int, step_count: int) -> float:
    """Share of the peak learning rate: linear warm-up, constant, then a linear decay to zero."""
    warmup = (step + 1) / WARMUP_STEPS
    decay = (step_count - step) / max(1, math.ceil(DECAY_FRAC * step_count))
    return min(1.0, warmup, decay)


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    seen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in seen]
    return [
        torch.optim.Muon(
            [{"params": matrices, "peak_lr": MUON_RATE}],
            weight_decay=0.05,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [{"params": others, "peak_lr": ADAMW_RATE}], betas=(0.9, 0.98), weight_decay=0.0
        ),
    ]


def _accumulate(model: LlamaForCausalLM, step: list[batches.MicroBatch]) -> float:
    """Adds the gradient of the mean loss over the step's target tokens; returns that loss."""
    targets = sum(int((each.labels != batches.IGNORED).sum()) for each in step)
    total = 0.0
    for each in step:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=each.input_ids, use_cache=False).last_hidden_state
            is_target = each.labels != batches.IGNORED
            logits = model.lm_head(hidden[is_target])  # only where it is needed: a quarter of all
        loss = functional.cross_entropy(
            logits.float(), each.labels[is_target], reduction="sum"
        ) / targets
        loss.backward()
        total += loss.item()
    return total


def _recent(losses: list[float]) -> float:
    recent = losses[-LOG_EVERY_STEPS:]
    return sum(recent) / len(recent)


if __name__ == "__main__":
    sys.exit(main())
