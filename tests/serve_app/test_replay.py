"""Forced tokens in vLLM's first model runner: a small simulated batch, in any order of events."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor import interface as v2

from serve_app import replay
from serve_app.replay import ForcedTokens, forced_tokens
from tests.serve_app.forcing import FREE_CHOICE, VOCABULARY, logits, params


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
