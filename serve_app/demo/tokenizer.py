"""The demo model's tokenizer: byte-level BPE trained on the corpus, with the chat template.

Digits and Chinese characters are one token each and never merge with neighbours, so a prompt
tokenizes the same whatever follows it. Control tokens are special (hidden from clients); the tags
of tool use are ordinary added tokens, because the `hermes` parser of vLLM has to see them in the
text.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from serve_app.demo import corpus, lexicon

VOCAB_SIZE = 2560
CONTEXT_TOKENS = 4096
PAD, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TAGS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
TEMPLATE_PATH = Path(__file__).parent / "chat_template.jinja"

SAMPLE_DOCUMENTS = 20_000
REPEATS = (
    1_000  # enough for every Chinese character, and the template's words, to earn their merges
)
CJK = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef\u201c\u201d]"
PIECES = CJK + r"| ?[A-Za-z]+|\p{N}| ?(?:(?!" + CJK + r")[^\s\p{L}\p{N}])+|\n+|\s|\p{L}"


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The same seed gives the same tokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(TAGS),
        special_tokens=[PAD, IM_START, IM_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(Random(f"tokenizer {seed}")), trainer)
    bpe.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=IM_END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT_TOKENS,
        chat_template=TEMPLATE_PATH.read_text(encoding="utf-8"),
    )


def _texts(rng: Random) -> Iterator[str]:
    documents = corpus.training_documents(rng)
    hanzi = set(lexicon.COMMON_HANZI)
    template = TEMPLATE_PATH.read_text(encoding="utf-8")
    for _ in range(SAMPLE_DOCUMENTS):
        document = next(documents)
        text = _plain(document)
        hanzi.update(character for character in text if "\u4e00" <= character <= "\u9fff")
        yield text
    for _ in range(REPEATS):
        yield "".join(sorted(hanzi))
        yield template


def _plain(document: corpus.Document) -> str:
    """The words of a document in the spelling that training gives them."""
    if not isinstance(document, corpus.Conversation):
        return "".join(text for text, _ in document)
    parts: list[str] = [json.dumps(tool, ensure_ascii=False) for tool in document.tools]
    for message in document.messages:
        parts += [f"{message['role']}\n", message["content"]]
        calls: list[Any] = message.get("tool_calls", [])
        parts += [json.dumps(call["function"], ensure_ascii=False) for call in calls]
    return "\n".join(parts)
