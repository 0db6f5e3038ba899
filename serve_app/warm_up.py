"""A new engine's first steps, taken before anyone waits for them.

The first request of each kind pays for lazy imports and first compilations inside the core (the
grammar compiler alone stalls *every* stream of that engine for seconds): so the engine runs one
tiny request of each kind before it says it is ready.
"""

from __future__ import annotations

import time

from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest

from serve_app.engine_host import Core
from serve_app.vllm_private import structured_regex

_PROMPT = [1, 1]
_TOKENS = 2


async def warm_up(core: Core, config: VllmConfig) -> None:
    """Run the requests one after the other. Generating models only."""
    for index, params in enumerate(_kinds(config)):
        await core.add_request_async(_request(f"warm-up-{index}", params))
        await _finished(core)


def _kinds(config: VllmConfig) -> list[SamplingParams]:
    model = config.model_config
    if model.runner_type != "generate":
        return []
    plain = SamplingParams(temperature=0.0, max_tokens=_TOKENS, ignore_eos=True)
    sampled = SamplingParams(
        temperature=1.0, seed=1, top_p=0.9, presence_penalty=0.1, logprobs=1, max_tokens=_TOKENS
    )
    if model.skip_tokenizer_init:
        return [plain, sampled]  # no tokenizer, no grammars
    structured = SamplingParams(
        temperature=0.0,
        max_tokens=_TOKENS,
        structured_outputs=structured_regex("[a-z]{1,8}", config),
    )
    return [plain, sampled, structured]


def _request(request_id: str, params: SamplingParams) -> EngineCoreRequest:
    return EngineCoreRequest(
        request_id=request_id,
        prompt_token_ids=list(_PROMPT),
        mm_features=None,
        sampling_params=params,
        pooling_params=None,
        arrival_time=time.time(),
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )


async def _finished(core: Core) -> None:
    while True:
        outputs = await core.get_output_async()
        if any(output.finished for output in outputs.outputs):
            return
