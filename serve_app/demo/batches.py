"""Training batches: documents as token ids with a loss mask, grouped so that little is padding.

Loss is taken on raw text as marked, and in a chat on the assistant's turns alone. One `Step` holds
a fixed number of documents, sorted by length into micro-batches; the gradient is that of the
whole step, so its mixture of tasks stays that of the corpus.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from serve_app.demo import corpus
from serve_app.demo.tokenizer import IM_END, IM_START

IGNORED = -100  # the label that cross entropy skips
MICRO_BATCH_TOKENS = 1_024
ROW_MULTIPLE_TOKENS = 16


@dataclass(frozen=True, slots=True)
class MicroBatch:
    input_ids: torch.Tensor  # rows x tokens, right-padded
    labels: torch.Tensor  # the next token, or IGNORED


@dataclass(frozen=True, slots=True)
class Encoded:
    input_ids: list[int]
    is_target: list[bool]  # one entry per token: whether the model should predict it


def steps(
    tokenizer: Any, rng: Random, documents_per_step: int, first_copies: int
) -> Iterator[list[MicroBatch]]:
    documents = corpus.training_documents(rng, first_copies)
    while True:
        encoded = [encode(tokenizer, next(documents)) for _ in range(documents_per_step)]
        encoded.sort(key=lambda each: len(each.input_ids))
        yield [_pad(rows, tokenizer.pad_token_id) for rows in _rows(encoded)]


def encode(tokenizer: Any, document: corpus.Document) -> Encoded:
    if isinstance(document, corpus.Conversation):
        text = tokenizer.apply_chat_template(
            list(document.messages), tools=list(document.tools) or None, tokenize=False
        )
        input_ids = tokenizer.encode(text.removesuffix("\n"))
        return Encoded(input_ids, _assistant_turns(tokenizer, input_ids))
    input_ids, is_target = [], []
    for text, target in document:
        segment_ids = tokenizer.encode(text)
        input_ids += segment_ids
        is_target += [target] * len(segment_ids)
    return Encoded([*input_ids, tokenizer.eos_token_id], [*is_target, True])


def _assistant_turns(tokenizer: Any, input_ids: list[int]) -> list[bool]:
    """True from the first token of an assistant's words to the end-of-turn token."""
    start, end = tokenizer.convert_tokens_to_ids([IM_START, IM_END])
    header = tokenizer.encode(f"{IM_START}assistant\n")
    is_target, speaking = [], False
    for position, token in enumerate(input_ids):
        is_target.append(speaking)
        if token == end:
            speaking = False
        elif input_ids[max(0, position - len(header) + 1) : position + 1] == header:
            speaking = True
        elif token == start:
            speaking = False
    return is_target


def _rows(encoded: list[Encoded]) -> Iterator[list[Encoded]]:
    """Consecutive documents (sorted by length) that fit into one micro-batch after padding."""
    rows: list[Encoded] = []
    for document in encoded:
        if rows and (len(rows) + 1) * len(document.input_ids) > MICRO_BATCH_TOKENS:
            yield rows
            rows = []
        rows.append(document)
    if rows:
        yield rows


def _pad(rows: list[Encoded], pad_token_id: int) -> MicroBatch:
    longest = max(len(row.input_ids) for row in rows)
    width = -(-longest // ROW_MULTIPLE_TOKENS) * ROW_MULTIPLE_TOKENS
    input_ids = torch.full((len(rows), width), pad_token_id)
    labels = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        size = len(row.input_ids)
        input_ids[index, :size] = torch.tensor(row.input_ids)
        targets = [
            token if target else IGNORED
            for token, target in zip(row.input_ids, row.is_target, strict=True)
        ]
        labels[index, : size - 1] = torch.tensor(targets[1:])
    return MicroBatch(input_ids, labels)
