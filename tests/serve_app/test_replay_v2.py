"""Forced tokens in vLLM's second model runner: request slots, and several rows of one request when
it speculates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from vllm.v1.worker.gpu.sample.logits_processor import interface as v2

from serve_app.replay import ForcedTokensV2
from tests.serve_app.forcing import FREE_CHOICE, logits, params


def slots(*prompt_lengths: int) -> ForcedTokensV2:
    """A processor over slots whose prompts have these lengths."""
    states = SimpleNamespace(prompt_len=SimpleNamespace(np=np.array(prompt_lengths)))
    return ForcedTokensV2(None, states)


def context(rows: list[tuple[int, int]]) -> v2.LogitsContext:
    """(slot, position) of each row; rows of one request are next to each other."""
    in_batch = np.array(list(dict.fromkeys(slot for slot, _ in rows)), dtype=np.int32)
    nothing = torch.zeros(0)
    return v2.LogitsContext(
        expanded_idx_mapping=torch.tensor([slot for slot, _ in rows], dtype=torch.int32),
        idx_mapping=torch.from_numpy(in_batch),
        idx_mapping_np=in_batch,
        expanded_local_pos=nothing,
        input_ids=nothing,
        pos=torch.tensor([position for _, position in rows], dtype=torch.int64),
        seq_lens_upper_bound_np=np.zeros(0),
    )


def sampled(processor: ForcedTokensV2, *rows: tuple[int, int]) -> list[int]:
    chosen = processor.apply(logits(len(rows)), context(list(rows)))
    return chosen.argmax(dim=1).tolist()


def test_says_whether_it_changes_a_request_s_logits():
    processor = slots(4, 4)
    assert processor.add_request(0, params(11))
    assert not processor.add_request(1, params())


def test_forces_by_the_position_after_the_prompt():
    processor = slots(4)
    processor.add_request(0, params(11, 12, 13))
    last_of_prompt = 3
    said = [sampled(processor, (0, last_of_prompt + step))[0] for step in range(5)]
    assert said == [11, 12, 13, FREE_CHOICE, FREE_CHOICE]


def test_leaves_rows_inside_the_prompt_alone():
    processor = slots(4)
    processor.add_request(0, params(11))
    assert sampled(processor, (0, 1)) == [FREE_CHOICE]  # a chunk of a long prompt


def test_keeps_slots_apart():
    processor = slots(4, 9, 2)
    processor.add_request(0, params(11, 12))
    processor.add_request(2, params(21, 22))
    assert sampled(processor, (1, 8), (2, 1), (0, 4)) == [FREE_CHOICE, 21, 12]


def test_forces_every_row_of_a_speculating_request():
    processor = slots(4, 4)
    processor.add_request(1, params(11, 12))
    assert sampled(processor, (0, 9), (1, 3), (1, 4), (1, 5)) == [
        FREE_CHOICE,
        11,
        12,
        FREE_CHOICE,
    ]


def test_a_slot_taken_over_by_a_plain_request_is_free():
    processor = slots(4)
    processor.add_request(0, params(11, 12))
    processor.add_request(0, params())
    assert sampled(processor, (0, 3)) == [FREE_CHOICE]


def test_returns_the_logits_unread_when_nothing_is_forced():
    processor = slots(4)
    given = logits(1)
    assert processor.apply(given, context([(0, 3)])) is given
