"""A model that always says the same, and requests with tokens forced upon it."""

from __future__ import annotations

import torch
from vllm.sampling_params import SamplingParams

from serve_app.replay import FORCED_TOKENS_KEY

VOCABULARY = 50
FREE_CHOICE = 7  # what the simulated model would say, always


def params(*forced: int) -> SamplingParams:
    extra = {FORCED_TOKENS_KEY: list(forced)} if forced else None
    return SamplingParams(max_tokens=100, extra_args=extra)


def logits(rows: int) -> torch.Tensor:
    free = torch.zeros(rows, VOCABULARY)
    free[:, FREE_CHOICE] = 5.0
    return free
