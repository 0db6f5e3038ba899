"""The committed demo model: corpus split, files, tokenizer, template, and answers it must give."""

# ruff: noqa: RUF001 - Chinese examples use full-width punctuation on purpose

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.demo import MODEL_PATH, corpus, lexicon, tool_calls
from serve_app.demo.items import Message, is_held_out

SEEDS = st.integers(min_value=0, max_value=2**32)
TASKS = st.sampled_from(sorted(corpus.TASKS))

PASSAGE = "Tom put the ball in the kitchen. Mia has a red hat. Ben went to the zoo by bus."
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL_PATH)


@pytest.fixture(scope="module")
def model() -> Any:
    from serve_app.demo import model_files

    return model_files.load(MODEL_PATH)


# the corpus


@given(task=TASKS, seed=SEEDS)
def test_a_generator_is_determined_by_its_seed(task: str, seed: int) -> None:
    first = corpus.draw(task, Random(seed), held_out=False)
    assert first == corpus.draw(task, Random(seed), held_out=False)


@given(task=TASKS, train_seed=SEEDS, held_out_seed=SEEDS)
def test_training_and_held_out_items_never_share_a_key(
    task: str, train_seed: int, held_out_seed: int
) -> None:
    trained = corpus.draw(task, Random(train_seed), held_out=False)
    held_out = corpus.draw(task, Random(held_out_seed), held_out=True)
    assert not is_held_out(trained.key)
    assert is_held_out(held_out.key)
    assert trained.key != held_out.key


def test_no_training_document_holds_a_held_out_question_with_its_answer() -> None:
    """Looks at the documents themselves, not at keys: raw texts and exchanges, as trained."""
    documents = corpus.training_documents(Random(7))
    trained: set[str] = set()
    for _ in range(3_000):
        document = next(documents)
        if isinstance(document, corpus.Conversation):
            trained |= set(_exchanges(document.messages))
        else:
            trained |= set("".join(text for text, _ in document).split("\n"))
    # A tool's result and its answer are no item by themselves: the call before them is what varies.
    for task in corpus.TASKS.keys() - {"tool_results"}:
        for item in corpus.held_out_items(task, 50, seed=0):
            answered = (*item.messages, {"role": "assistant", "content": item.answer})
            as_trained = item.prompt + item.answer if item.prompt else _exchanges(answered)[-1]
            assert as_trained not in trained


def _exchanges(messages: Sequence[Message]) -> list[str]:
    """Every assistant turn with the message before it."""
    texts: list[str] = []
    for before, after in itertools.pairwise(messages):
        if after["role"] == "assistant":
            calls = [call["function"] for call in after.get("tool_calls", [])]
            said = [tool_calls.render_call(**call) for call in calls] or [after["content"]]
            texts.append(f"{before['content']}\n{said[0]}")
    return texts


@given(seed=SEEDS)
def test_a_tool_call_names_an_offered_tool_and_fills_its_required_parameters(seed: int) -> None:
    item = tool_calls.call(Random(seed))
    call = json.loads(item.answer.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in item.tools}
    assert set(offered[call["name"]].get("required", call["arguments"])) == set(call["arguments"])


@settings(max_examples=30)
@given(seed=SEEDS)
def test_a_short_story_ending_names_only_what_the_story_told(seed: int) -> None:
    item = corpus.draw("stories", Random(seed), held_out=False)
    names = [name for name in lexicon.NAMES if f" {name} " in f" {item.answer} "]
    assert all(name in item.prompt for name in names)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, serve_app.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# the files


def test_the_files_fit_the_repository() -> None:
    sizes = {path.name: path.stat().st_size for path in MODEL_PATH.iterdir()}
    assert sizes["model.safetensors"] <= 10_000_000
    assert sum(sizes.values()) <= 11_000_000


def test_the_shape_suits_serving() -> None:
    config = json.loads((MODEL_PATH / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "float32"
    assert config["num_attention_heads"] % 2 == config["num_key_value_heads"] % 2 == 0
    assert config["head_dim"] == 32
    assert config["max_position_embeddings"] == 4096
    assert config["vocab_size"] % 64 == 0


@pytest.mark.parametrize("task", corpus.TASKS)
def test_a_task_was_measured_at_95_percent_or_better(task: str) -> None:
    record = json.loads((MODEL_PATH / "evaluation.json").read_text(encoding="utf-8"))
    assert set(record["held_out"]) == set(corpus.TASKS)
    score = record["held_out"][task]
    assert score["n"] >= 100
    assert score["exact_match"] >= 0.95


def test_the_model_has_two_to_four_million_parameters(model: Any) -> None:
    assert 2_000_000 <= model.num_parameters() <= 4_000_000


# the tokenizer and its template


@pytest.mark.parametrize(
    "text",
    [
        "Once upon a time there was a cat.",
        "今天天气很好。我喜欢红色的苹果！",
        '{"name": "get_weather", "arguments": {"city": "Paris"}}',
        "mixed 中文 and English, 123 + 456\n\ttabs, émigré, 🙂",
    ],
    ids=["English", "Chinese", "JSON", "anything else"],
)
def test_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_common_chinese_characters_and_digits_are_single_tokens(tokenizer: Any) -> None:
    for character in {*lexicon.COMMON_HANZI, *"0123456789。，？！"}:
        assert len(tokenizer.encode(character)) == 1, character
    assert len(tokenizer.encode("12345")) == 5


def test_the_template_renders_a_whole_tool_conversation(tokenizer: Any) -> None:
    function = {"name": "get_weather", "arguments": {"city": "北京"}}
    call = {"id": "1", "type": "function", "function": function}
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]  # fmt: skip
    text = tokenizer.apply_chat_template(
        messages, tools=[WEATHER_TOOL], tokenize=False, add_generation_prompt=True
    )
    head, tail = text.split("</tools>")
    assert head == (
        "<|im_start|>system\nBe short.\n\n# Tools\n\nYou may call these functions:\n<tools>\n"
        f"{json.dumps(WEATHER_TOOL)}\n"
    )
    assert tail.endswith(
        "<|im_start|>user\nweather?<|im_end|>\n"
        "<|im_start|>assistant\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_tool_arguments_render_alike_as_json_text_and_as_an_object(tokenizer: Any) -> None:
    def rendered(arguments: object) -> str:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        text: str = tokenizer.apply_chat_template([message], tokenize=False)
        return text

    assert rendered('{"x": 1}') == rendered({"x": 1})
    assert tool_calls.render_call("f", {"x": 1}) in rendered({"x": 1})


# the answers


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("今天天气", "很好。"),
        ("The grass is green and the sky is", " blue."),
        ("Tom went to the library to", " read a book."),
    ],
)
def test_raw_text_is_completed(tokenizer: Any, model: Any, prompt: str, answer: str) -> None:
    assert _greedy(tokenizer, model, prompt) == answer


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("中国的首都是哪里？", "中国的首都是北京。"),
        ("What is 81 - 7?", "81 - 7 = 74"),
        ("What is 12 + 30?", "12 + 30 = 42"),
        ("Translate to Chinese: I like red apples.", "我喜欢红色的苹果。"),
        ("Translate to English: 我喜欢红色的苹果。", "I like red apples."),
        (f"{PASSAGE} Where is the ball?", "The ball is in the kitchen."),
        (f"{PASSAGE} What color is the hat?", "The hat is red."),
        (f"{PASSAGE} Where did Ben go?", "Ben went to the zoo."),
        ("Hello!", "Hello! How can I help you?"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("system", [None, "You are a helpful assistant."], ids=["bare", "system"])
def test_a_chat_question_is_answered(
    tokenizer: Any, model: Any, system: str | None, question: str, answer: str
) -> None:
    messages = [{"role": "user", "content": question}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    assert _chat(tokenizer, model, messages) == answer


def test_a_tool_is_called_and_its_result_is_used(tokenizer: Any, model: Any) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    call = _chat(tokenizer, model, messages, tools=[WEATHER_TOOL])
    assert call == tool_calls.render_call("get_weather", {"city": "Paris"})

    function = {"name": "get_weather", "arguments": {"city": "Paris"}}
    asked = {"type": "function", "function": function}
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [asked]},
        {"role": "tool", "content": '{"temperature": 21, "condition": "sunny"}'},
    ]  # fmt: skip
    answer = _chat(tokenizer, model, messages, tools=[WEATHER_TOOL])
    assert answer == "It is sunny in Paris, 21 degrees."


def test_once_upon_a_time_becomes_a_whole_story(tokenizer: Any, model: Any) -> None:
    story = _greedy(tokenizer, model, "Once upon a time", max_new_tokens=250)
    assert 60 <= len(tokenizer.encode(story)) < 250, story
    assert story.rstrip()[-1] in '."!', story


def _chat(tokenizer: Any, model: Any, messages: Any, tools: Any = None) -> str:
    text = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=True
    )
    return _greedy(tokenizer, model, text)


def _greedy(tokenizer: Any, model: Any, prompt: str, max_new_tokens: int = 60) -> str:
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    text: str = tokenizer.decode(
        output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return text
