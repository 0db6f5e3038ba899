"""Forces a request to repeat given output tokens, so that a replay resume ends up in exactly the
state the lost engine was in: generator draws consumed, penalties counted, grammar advanced.

A custom logits processor, installed in every engine through vLLM's `logits_processors` argument
(one class per interface of vLLM's two model runners). A request asks for it through
`SamplingParams.extra_args[FORCED_TOKENS_KEY]`, which only the switch sets. The switch checks every
forced token it gets back, so a processor that did not run can never turn into wrong text.

Only the *number* of output tokens so far is read, never their values: under asynchronous scheduling
the values may still be placeholders when the processor runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor import interface as v2

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.sampling_params import SamplingParams

FORCED_TOKENS_KEY = "tokenfleet_forced_token_ids"

V1_PATH = "serve_app.replay:ForcedTokens"
V2_PATH = "serve_app.replay:ForcedTokensV2"


def forced_tokens(params: SamplingParams) -> list[int]:
    """The tokens a request must repeat; empty for nearly all."""
    return list((params.extra_args or {}).get(FORCED_TOKENS_KEY, ()))


class ForcedTokens(LogitsProcessor):
    """For vLLM's first model runner: rows of the persistent batch, kept by index."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        # Row -> (tokens to force, the runner's own list of this request's output tokens).
        self._rows: dict[int, tuple[list[int], list[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._rows.pop(row, None)
        for row, params, _, output_ids in batch_update.added:
            self._rows.pop(row, None)
            if forced := forced_tokens(params):
                self._rows[row] = (forced, output_ids)
        for source, target, direction in batch_update.moved:
            self._move(source, target, direction)

    def _move(self, source: int, target: int, direction: MoveDirectionality) -> None:
        moving, displaced = self._rows.pop(source, None), self._rows.pop(target, None)
        if moving is not None:
            self._rows[target] = moving
        if displaced is not None and direction is MoveDirectionality.SWAP:
            self._rows[source] = displaced

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        for row, (forced, output_ids) in self._rows.items():
            if len(output_ids) < len(forced):
                _force(logits[row], forced[len(output_ids)])
        return logits


class ForcedTokensV2(v2.LogitsProcessor):
    """For vLLM's second model runner (CUDA builds): request slots, several rows each when
    speculating."""

    def __init__(self, vllm_config: VllmConfig, req_states: v2.LogitsProcRequestState) -> None:
        self._prompt_len = req_states.prompt_len
        self._slots: dict[int, list[int]] = {}

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        self._slots.pop(req_idx, None)
        if forced := forced_tokens(sampling_params):
            self._slots[req_idx] = forced
        return bool(forced)

    def apply(self, logits: torch.Tensor, ctx: v2.LogitsContext) -> torch.Tensor:
        if not any(slot in self._slots for slot in ctx.idx_mapping_np.tolist()):
            return logits
        # Rare (only while a replay runs), so the device-to-host copies are affordable.
        slots, positions = ctx.expanded_idx_mapping.tolist(), ctx.pos.tolist()
        for row, (slot, position) in enumerate(zip(slots, positions, strict=True)):
            forced = self._slots.get(slot, ())
            done = position + 1 - int(self._prompt_len.np[slot])
            if 0 <= done < len(forced):
                _force(logits[row], forced[done])
        return logits


def _force(row: torch.Tensor, token_id: int) -> None:
    row.fill_(float("-inf"))
    row[token_id] = 0.0
