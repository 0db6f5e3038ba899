"""Forced tokens, in both of vLLM's model runners: a small simulated batch, and a hand-made one."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor import interface as v2

from serve_app import replay
from serve_app.replay import FORCED_TOKENS_KEY, ForcedTokens, ForcedTokensV2, forced_tokens

VOCABULARY = 50
FREE_CHOICE = 7  # what the simulated model would say, always


def params(*forced: int) -> SamplingParams:
    extra = {FORCED_TOKENS_KEY: list(forced)} if forced else None
    return SamplingParams(max_tokens=100, extra_args=extra)


def logits(rows: int) -> torch.Tensor:
    free = torch.zeros(rows, VOCABULARY)
    free[:, FREE_CHOICE] = 5.0
    return free


@dataclass
class Batch:
    """vLLM's persistent batch, in what a processor sees of it: rows that come, go and move.

    `rows` holds each row's output tokens; as in vLLM the processor keeps a reference to the list.
    """

    processor: ForcedTokens = field(default_factory=lambda: ForcedTokens(None, None, False))
    rows: list[list[int]] = field(default_factory=list)

    def update(self, added=(), removed=(), moved=()) -> None:
        self.processor.update_state(
            BatchUpdate(batch_size=len(self.rows), removed=removed, added=added, moved=moved)
        )

    def add(self, *forced: int, output: list[int] | None = None) -> list[int]:
        output = [] if output is None else output
        self.rows.append(output)
        self.update(added=[(len(self.rows) - 1, params(*forced), [1, 2], output)])
        return output

    def step(self) -> None:
        """Sample every row greedily."""
        chosen = self.processor.apply(logits(len(self.rows))).argmax(dim=1).tolist()
        for output, token in zip(self.rows, chosen, strict=True):
            output.append(token)


def test_only_requests_that_were_moved_have_forced_tokens():
    assert forced_tokens(params(4, 5)) == [4, 5]
    assert forced_tokens(params()) == []
    assert forced_tokens(SamplingParams(extra_args={"mine": 1})) == []


@pytest.mark.parametrize("path", [replay.V1_PATH, replay.V2_PATH])
def test_the_engine_finds_the_processors_by_name(path):
    expected = {replay.V1_PATH: LogitsProcessor, replay.V2_PATH: v2.LogitsProcessor}[path]
    module, _, name = path.partition(":")
    assert issubclass(getattr(import_module(module), name), expected)


def test_a_row_repeats_its_tokens_and_is_then_free():
    batch = Batch()
    output = batch.add(11, 12, 13)
    for _ in range(5):
        batch.step()
    assert output == [11, 12, 13, FREE_CHOICE, FREE_CHOICE]


def test_other_rows_are_not_touched():
    batch = Batch()
    batch.add()
    batch.add(11)
    batch.add()
    scores = batch.processor.apply(logits(3))
    torch.testing.assert_close(scores[[0, 2]], logits(2))
    assert scores[1].isfinite().nonzero().tolist() == [[11]]


def test_a_request_that_was_preempted_goes_on_where_it_was():
    batch = Batch()
    output = batch.add(11, 12, 13, output=[11, 12])
    batch.step()
    batch.step()
    assert output == [11, 12, 13, FREE_CHOICE]


def test_a_row_that_a_plain_request_takes_over_is_free():
    batch = Batch()
    batch.add(11, 12)
    batch.rows[0] = fresh = []
    batch.update(added=[(0, params(), [1], fresh)])
    batch.step()
    assert fresh == [FREE_CHOICE]


def test_a_row_that_another_moves_onto_is_gone():
    batch = Batch()
    batch.add(11, 12)
    moved = batch.add(21, 22)
    batch.rows = [moved]
    batch.update(moved=[(1, 0, MoveDirectionality.UNIDIRECTIONAL)])
    batch.step()
    assert moved == [21]


def test_a_step_without_changes_changes_nothing():
    batch = Batch()
    output = batch.add(11, 12)
    batch.step()
    batch.processor.update_state(None)
    batch.step()
    assert output == [11, 12]


def test_greedy_sampling_must_not_skip_it():
    assert not Batch().processor.is_argmax_invariant()


class AnyBatch(RuleBasedStateMachine):
    """Rows that come, go, condense and swap: each still says exactly its own tokens first."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = Batch()
        self.wanted: list[list[int]] = []  # of each row

    @rule(forced=st.lists(st.integers(10, VOCABULARY - 1), max_size=4))
    def add(self, forced) -> None:
        self.batch.add(*forced)
        self.wanted.append(forced)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def remove(self, data) -> None:
        """The last row takes the place of the removed one, as vLLM condenses its batch."""
        rows, last = self.batch.rows, len(self.wanted) - 1
        index = data.draw(st.integers(0, last))
        rows[index], self.wanted[index] = rows[last], self.wanted[last]
        rows.pop(), self.wanted.pop()
        moved = [(last, index, MoveDirectionality.UNIDIRECTIONAL)] if index != last else []
        self.batch.update(removed=[index], moved=moved)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data(), forced=st.lists(st.integers(10, VOCABULARY - 1), max_size=4))
    def replace(self, data, forced) -> None:
        """A new request takes the row of one that ended."""
        index = data.draw(st.integers(0, len(self.wanted) - 1))
        self.batch.rows[index], self.wanted[index] = output, _ = [], forced
        self.batch.update(removed=[index], added=[(index, params(*forced), [1], output)])

    @precondition(lambda self: len(self.wanted) > 1)
    @rule(data=st.data())
    def swap(self, data) -> None:
        rows = st.integers(0, len(self.wanted) - 1)
        one = data.draw(rows)
        other = data.draw(rows.filter(lambda row: row != one))
        for column in (self.batch.rows, self.wanted):
            column[one], column[other] = column[other], column[one]
        self.batch.update(moved=[(one, other, MoveDirectionality.SWAP)])

    @rule()
    def step(self) -> None:
        self.batch.step()

    @invariant()
    def every_row_says_its_own_tokens_first(self) -> None:
        for output, forced in zip(self.batch.rows, self.wanted, strict=True):
            free = [FREE_CHOICE] * (len(output) - len(forced))
            assert output == (forced + free)[: len(output)]


TestAnyBatch = AnyBatch.TestCase
TestAnyBatch.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# vLLM's second model runner: request slots, and several rows of one request when speculating


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


def test_v2_says_whether_it_changes_a_request_s_logits():
    processor = slots(4, 4)
    assert processor.add_request(0, params(11))
    assert not processor.add_request(1, params())


def test_v2_forces_by_the_position_after_the_prompt():
    processor = slots(4)
    processor.add_request(0, params(11, 12, 13))
    last_of_prompt = 3
    said = [sampled(processor, (0, last_of_prompt + step))[0] for step in range(5)]
    assert said == [11, 12, 13, FREE_CHOICE, FREE_CHOICE]


def test_v2_leaves_rows_inside_the_prompt_alone():
    processor = slots(4)
    processor.add_request(0, params(11))
    assert sampled(processor, (0, 1)) == [FREE_CHOICE]  # a chunk of a long prompt


def test_v2_keeps_slots_apart():
    processor = slots(4, 9, 2)
    processor.add_request(0, params(11, 12))
    processor.add_request(2, params(21, 22))
    assert sampled(processor, (1, 8), (2, 1), (0, 4)) == [FREE_CHOICE, 21, 12]


def test_v2_forces_every_row_of_a_speculating_request():
    processor = slots(4, 4)
    processor.add_request(1, params(11, 12))
    assert sampled(processor, (0, 9), (1, 3), (1, 4), (1, 5)) == [
        FREE_CHOICE,
        11,
        12,
        FREE_CHOICE,
    ]


def test_v2_a_slot_taken_over_by_a_plain_request_is_free():
    processor = slots(4)
    processor.add_request(0, params(11, 12))
    processor.add_request(0, params())
    assert sampled(processor, (0, 3)) == [FREE_CHOICE]


def test_v2_returns_the_logits_unread_when_nothing_is_forced():
    processor = slots(4)
    given = logits(1)
    assert processor.apply(given, context([(0, 3)])) is given
