"""Held-out accuracy of a saved demo model: exact match of greedy answers, per task, with plain
transformers in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoTokenizer

from serve_app.demo import corpus, model_files
from serve_app.demo.items import Item

ITEMS_PER_TASK = 200
BATCH_SIZE = 50
REQUIRED_ACCURACY = 0.95
SPARE_TOKENS = 8  # an answer may run on this far before it is cut and counted as wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    def as_record(self) -> dict[str, float | int]:
        return {"exact_match": round(self.accuracy, 4), "n": self.n}


def evaluate(folder: Path, seed: int, items_per_task: int = ITEMS_PER_TASK) -> dict[str, Score]:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), model_files.load(folder)
    scores: dict[str, Score] = {}
    for task in corpus.TASKS:
        items = corpus.held_out_items(task, items_per_task, seed)
        prompts = [render(tokenizer, item, Random(index)) for index, item in enumerate(items)]
        answers = [item.answer for item in items]
        outputs = complete(tokenizer, model, prompts, answers)
        correct = sum(given == right for given, right in zip(outputs, answers, strict=True))
        scores[task] = Score(correct=correct, n=len(items))
        print(f"{task:20} {scores[task].accuracy:.3f}  n={len(items)}", flush=True)
        for prompt, given, right in zip(prompts, outputs, answers, strict=True):
            if given != right:
                print(f"  e.g. {prompt!r} -> {given!r}, not {right!r}", flush=True)
                break
    return scores


def passed(scores: Mapping[str, Score]) -> bool:
    return all(score.accuracy >= REQUIRED_ACCURACY for score in scores.values())


def render(tokenizer: Any, item: Item, rng: Random) -> str:
    """The prompt as text; every other chat has one of the known system prompts."""
    if not item.messages:
        return item.prompt
    messages = list(item.messages)
    if rng.random() < 0.5:
        messages.insert(0, {"role": "system", "content": rng.choice(corpus.SYSTEM_PROMPTS)})
    text: str = tokenizer.apply_chat_template(
        messages, tools=list(item.tools) or None, tokenize=False, add_generation_prompt=True
    )
    return text


def complete(tokenizer: Any, model: Any, prompts: list[str], answers: list[str]) -> list[str]:
    """Greedy continuations in the order of the prompts, cut a little after the longest answer."""
    outputs = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        longest = max(len(tokenizer.encode(answers[index])) for index in chosen)
        inputs = tokenizer([prompts[index] for index in chosen], padding=True, return_tensors="pt")
        with torch.inference_mode():
            generated = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=False,
                max_new_tokens=longest + SPARE_TOKENS,
            )
        fresh = generated[:, inputs["input_ids"].shape[1] :]
        for index, text in zip(
            chosen, tokenizer.batch_decode(fresh, skip_special_tokens=True), strict=True
        ):
            outputs[index] = text
    return outputs
