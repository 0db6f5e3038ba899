"""Trains and evaluates the embedded demo model: `python -m serve_app.demo.train --seed 0 --out
DIR`, or `--evaluate`.

Training needs no data, the corpus is generated from the seed, and takes tens of minutes on two CPU
cores. Matrices are trained with Muon and the rest with AdamW, in bfloat16 autocast over float32
weights. Micro-batches run side by side in one-threaded workers rather than one after the other on
all cores: the ops are too small for that, and on a busy machine every op would wait for the slower
core. `--evaluate` measures the model in `--out` on held-out items with plain transformers and fails
if any task is under 95 %.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from serve_app.demo import MODEL_PATH, batches, evaluation, model_files
from serve_app.demo.tokenizer import train_tokenizer

STEPS = 1_500
DOCUMENTS_PER_STEP = 64
COPY_STEPS = 220  # the first ones: copying must work before the tasks can build on it
WARMUP_STEPS = 50
DECAY_FRAC = 0.6  # the last part of training, in which the learning rates fall to zero
MUON_RATE = 4e-3
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
    model.set_attn_implementation("eager")  # a fifth less CPU time than sdpa at these lengths
    optimizers = _optimizers(model)
    started_at_s = time.monotonic()
    losses: list[float] = []
    stream = batches.steps(
        tokenizer, Random(f"train {seed}"), DOCUMENTS_PER_STEP, COPY_STEPS * DOCUMENTS_PER_STEP
    )
    torch.set_num_threads(1)  # the parallelism is in the workers
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for step in range(step_count):
            _set_rates(optimizers, rate_frac(step, step_count))
            losses.append(_set_gradients(model, next(stream), workers))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            if step % LOG_EVERY_STEPS == LOG_EVERY_STEPS - 1:
                elapsed_s = time.monotonic() - started_at_s
                print(
                    f"step {step + 1} loss {_recent(losses):.4f} at {elapsed_s:.0f} s", flush=True
                )
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


def _set_rates(optimizers: list[torch.optim.Optimizer], frac: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * frac


def _set_gradients(
    model: LlamaForCausalLM, step: list[batches.MicroBatch], workers: ThreadPoolExecutor
) -> float:
    """Sets the gradient of the mean loss over the step's target tokens; returns that loss.

    The sums run in the order of the micro-batches, so the result does not depend on the timing.
    """
    parameters = list(model.parameters())
    targets = sum(int((each.labels != batches.IGNORED).sum()) for each in step)

    def differentiate(each: batches.MicroBatch) -> tuple[float, tuple[torch.Tensor, ...]]:
        loss = _summed_loss(model, each) / targets
        return loss.item(), torch.autograd.grad(loss, parameters)

    total = 0.0
    model.zero_grad()
    for loss, gradients in workers.map(differentiate, step):
        total += loss
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return total


def _summed_loss(model: LlamaForCausalLM, batch: batches.MicroBatch) -> torch.Tensor:
    is_target = batch.labels != batches.IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[is_target])  # only where it is needed: under half of all
    return functional.cross_entropy(logits.float(), batch.labels[is_target], reduction="sum")


def _recent(losses: list[float]) -> float:
    recent = losses[-LOG_EVERY_STEPS:]
    return sum(recent) / len(recent)


if __name__ == "__main__":
    sys.exit(main())
