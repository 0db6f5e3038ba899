"""The demo model's corpus: seeded generators per task, the held-out split, and the mixture that is
trained on.

Everything is drawn from the `Random` that is passed in; nothing reads files, clocks or global
state. `draw` is the one place where the split is applied: training draws reject held-out keys,
evaluation draws reject the others, so the two are disjoint whatever the seeds (see
`items.is_held_out`).
"""

# ruff: noqa: RUF001 - Chinese chat uses full-width punctuation on purpose

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from serve_app.demo import completion, drills, questions, stories, tool_calls, translation
from serve_app.demo.items import ALWAYS_TRAINED, Item, Message, Tool, is_held_out, user

Generator = Callable[[Random], Item]

# the tasks that are measured on held-out items
TASKS: Mapping[str, Generator] = {
    "completion_en": completion.english,
    "completion_zh": completion.chinese,
    "translation_en_zh": translation.to_chinese,
    "translation_zh_en": translation.to_english,
    "arithmetic": questions.arithmetic,
    "capitals": questions.capitals,
    "passages": questions.passages,
    "tool_calls": tool_calls.call,
    "tool_results": tool_calls.result,
    "stories": stories.last_sentence,
    "stories_zh": stories.chinese_last_sentence,
}

DRILL_FRAC = 0.33
ODD_TOOLS_FRAC = 0.4

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful AI assistant.",
    "You are a friendly assistant. Answer the user.",
    "You are the demo model of Tokenfleet.",
    "Answer briefly.",
    "Be short and clear.",
    "You are a helpful, honest and harmless assistant. Answer the question of the user.",
    "你是一个有用的助手。",
)

SMALL_TALK: tuple[tuple[str, str], ...] = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hello", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("Hi!", "Hello! How can I help you?"),
    ("Hi there!", "Hello! How can I help you?"),
    ("How are you?", "I am fine, thank you."),
    ("Who are you?", "I am the demo model of Tokenfleet."),
    ("What is your name?", "I am the demo model of Tokenfleet."),
    ("What are you?", "I am the demo model of Tokenfleet."),
    ("What can you do?", "I can tell stories, translate, answer simple questions and call tools."),
    ("Thank you!", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Goodbye!", "Goodbye! See you soon."),
    ("Bye", "Goodbye! See you soon."),
    ("你好", "你好！我能帮你做什么？"),
    ("你好！", "你好！我能帮你做什么？"),
    ("你是谁？", "我是Tokenfleet的演示模型。"),
    ("谢谢", "不客气。"),
    ("再见", "再见！"),
    ("今天天气怎么样？", "今天天气很好。"),
    ("今天天气", "很好。"),
)  # fmt: skip
COMPLETION_ASKS = (
    "Complete the sentence: {text}",
    "Finish this sentence: {text}",
    "Continue: {text}",
)
ZH_COMPLETION_ASKS = ("完成句子：{text}", "请把句子写完：{text}", "继续：{text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A chat to train on; every assistant turn is a target."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()


# raw text, some of which may be only read and not predicted, or a chat
Document = drills.Segments | Conversation


def draw(task: str, rng: Random, *, held_out: bool) -> Item:
    return _draw(TASKS[task], rng, held_out=held_out)


def held_out_items(task: str, count: int, seed: int) -> list[Item]:
    """Up to `count` different held-out items (fewer where the task has no more), by the seed."""
    rng = Random(f"held-out {task} {seed}")
    items: dict[tuple[object, ...], Item] = {}
    for _ in range(50 * count):
        item = draw(task, rng, held_out=True)
        items.setdefault((item.prompt, repr(item.messages), repr(item.tools)), item)
        if len(items) == count:
            break
    return list(items.values())


def training_documents(rng: Random, first_copies: int = 0) -> Iterator[Document]:
    """So many drills in copying, then an endless mixture of drills, raw texts and conversations."""
    for _ in range(first_copies):
        yield drills.first_copies(rng)
    while True:
        yield _document(rng)


def _draw(generator: Generator, rng: Random, *, held_out: bool = False) -> Item:
    while True:
        item = generator(rng)
        if is_held_out(item.key) == held_out:
            return item


RAW_WEIGHTS: Mapping[Generator, int] = {
    stories.last_sentence: 5,
    stories.chinese_last_sentence: 2,
    completion.english: 4,
    completion.chinese: 4,
    completion.fixed: 1,
}


def small_talk(rng: Random) -> Item:
    question, answer = rng.choice(SMALL_TALK)
    return Item(task="small_talk", key=ALWAYS_TRAINED, messages=(user(question),), answer=answer)


def completion_in_chat(rng: Random) -> Item:
    generator, asks = rng.choice(
        ((completion.english, COMPLETION_ASKS), (completion.chinese, ZH_COMPLETION_ASKS))
    )
    item = _draw(generator, rng)
    content = rng.choice(asks).format(text=item.prompt)
    return Item(
        task="completion_chat", key=item.key, messages=(user(content),), answer=item.answer.strip()
    )


CHAT_WEIGHTS: Mapping[Generator, float] = {
    translation.to_chinese: 5,
    translation.to_english: 5,
    translation.fixed: 0.5,
    questions.arithmetic: 6,
    questions.capitals: 3,
    questions.passages: 3,
    completion_in_chat: 1,
    small_talk: 1,
    stories.asked_for: 1.5,
}


def _document(rng: Random) -> Document:
    if rng.random() < DRILL_FRAC:
        kinds = (drills.copying, drills.looking_up, drills.sums)
        return rng.choices(kinds, weights=(1, 2, 2))[0](rng)
    kind = rng.random()
    if kind < 0.2:
        item = _draw(_pick(RAW_WEIGHTS, rng), rng)
        return ((item.prompt + item.answer, True),)
    if kind < 0.4:
        return _tool_conversation(rng)
    if kind < 0.6:
        return _passage_conversation(rng)
    messages = _system(rng)
    for _ in range(rng.choice((1, 2, 4))):
        messages += _exchange(_draw(_pick(CHAT_WEIGHTS, rng), rng))
    return Conversation(messages=messages)


def _passage_conversation(rng: Random) -> Conversation:
    """A question about every fact of a passage, none of them held out."""
    while True:
        items = questions.passage_questions(rng)
        if not any(is_held_out(item.key) for item in items):
            messages = _system(rng)
            for item in items:
                messages += _exchange(item)
            return Conversation(messages=messages)


def _tool_conversation(rng: Random) -> Conversation:
    """Exchanges over the same tools: mostly calls, sometimes a question that needs none of them."""
    box = tool_calls.toolbox(rng, ODD_TOOLS_FRAC)
    messages = _system(rng)
    for _ in range(rng.choice((1, 2, 3))):
        if "calculator" not in box.definitions and rng.random() < 0.15:
            item = _draw(_pick(CHAT_WEIGHTS, rng), rng)
        else:
            item = _draw(lambda inner: tool_calls.result(inner, box), rng)
        messages += _exchange(item)
    return Conversation(messages=messages, tools=box.tools)


def _exchange(item: Item) -> tuple[Message, ...]:
    return (*item.messages, {"role": "assistant", "content": item.answer})


def _system(rng: Random) -> tuple[Message, ...]:
    if rng.random() < 0.5:
        return ()
    return ({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)},)


def _pick(weights: Mapping[Generator, float], rng: Random) -> Generator:
    return rng.choices(list(weights), weights=list(weights.values()))[0]
