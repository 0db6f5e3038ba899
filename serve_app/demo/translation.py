"""A small language with one English and one Chinese form per sentence, translated in both
directions.

The two directions share the key (the English sentence), so a held-out sentence is unseen in both.
"""

# ruff: noqa: RUF001 - Chinese sentences use full-width punctuation on purpose

from random import Random

from serve_app.demo import lexicon
from serve_app.demo.items import ALWAYS_TRAINED, Item, user

TO_CHINESE = (
    "Translate to Chinese: {text}", "Translate into Chinese: {text}",
    "Translate this to Chinese: {text}", "Translate the sentence into Chinese: {text}",
    "Please translate to Chinese: {text}", "Translate to Chinese:\n{text}",
    "Translate English to Chinese: {text}", "How do you say \"{text}\" in Chinese?",
    "把这句话翻译成中文：{text}", "请翻译成中文：{text}", "翻译成中文：{text}",
)  # fmt: skip
TO_ENGLISH = (
    "Translate to English: {text}", "Translate into English: {text}",
    "Translate this to English: {text}", "Translate the sentence into English: {text}",
    "Please translate to English: {text}", "Translate to English:\n{text}",
    "Translate Chinese to English: {text}", "What does \"{text}\" mean in English?",
    "把这句话翻译成英文：{text}", "请翻译成英文：{text}", "翻译成英文：{text}",
)  # fmt: skip

FIXED: tuple[tuple[str, str], ...] = (
    ("Hello!", "你好！"),
    ("Good morning!", "早上好！"),
    ("Thank you.", "谢谢你。"),
    ("Goodbye!", "再见！"),
    ("How are you?", "你好吗？"),
    ("The weather is very nice today.", "今天天气很好。"),
)


def to_chinese(rng: Random) -> Item:
    english, chinese = sentence_pair(rng)
    return _item(
        "translation_en_zh", rng.choice(TO_CHINESE), english, chinese, key=f"translation|{english}"
    )


def to_english(rng: Random) -> Item:
    english, chinese = sentence_pair(rng)
    return _item(
        "translation_zh_en", rng.choice(TO_ENGLISH), chinese, english, key=f"translation|{english}"
    )


def fixed(rng: Random) -> Item:
    english, chinese = rng.choice(FIXED)
    if rng.random() < 0.5:
        return _item("translation_fixed", rng.choice(TO_CHINESE), english, chinese)
    return _item("translation_fixed", rng.choice(TO_ENGLISH), chinese, english)


def sentence_pair(rng: Random) -> tuple[str, str]:
    """One English sentence and its Chinese translation."""
    form = rng.choices((_action, _state, _possession), weights=(6, 2, 1))[0]
    return form(rng)


def _action(rng: Random) -> tuple[str, str]:
    """Subject verb [number] [colour] noun [place]."""
    subject, third, zh_subject, *_ = rng.choice(lexicon.SUBJECTS)
    base, third_form, zh_verb = rng.choice(lexicon.VERBS)
    noun, zh_noun = _noun_phrase(rng)
    verb = third_form if third else base
    english, chinese = f"{subject} {verb} {noun}", f"{zh_verb}{zh_noun}"
    if rng.random() < 0.35:
        place, zh_place = rng.choice(lexicon.PLACES)
        return f"{english} {place}.", f"{zh_subject}在{zh_place}{chinese}。"
    return f"{english}.", f"{zh_subject}{chinese}。"


def _noun_phrase(rng: Random) -> tuple[str, str]:
    singular, plural, zh_noun, measure = rng.choice(lexicon.NOUNS)
    english, chinese = plural, zh_noun
    if rng.random() < 0.6:
        colour, zh_colour = rng.choice(list(lexicon.COLOURS.items()))
        english, chinese = f"{colour} {english}", f"{zh_colour}的{chinese}"
    if rng.random() < 0.5:
        number, zh_number = rng.choice(list(lexicon.NUMBERS.items()))
        if number == "a":
            english = english.removesuffix(plural) + singular
            number = "an" if english[0] in "aeiou" else "a"
        english, chinese = f"{number} {english}", f"{zh_number}{measure}{chinese}"
    return english, chinese


def _state(rng: Random) -> tuple[str, str]:
    """Subject is [not] [very] adjective [today]."""
    subject, _, zh_subject, be, *_ = rng.choice(lexicon.SUBJECTS)
    adjective, zh_adjective = rng.choice(list(lexicon.ADJECTIVES.items()))
    negation, zh_negation = rng.choice((("", "很"), ("not ", "不"), ("very ", "非常")))
    english, chinese = f"{subject} {be} {negation}{adjective}", f"{zh_negation}{zh_adjective}"
    if rng.random() < 0.4:
        return f"{english} today.", f"{zh_subject}今天{chinese}。"
    return f"{english}.", f"{zh_subject}{chinese}。"


def _possession(rng: Random) -> tuple[str, str]:
    """This or that is someone's [colour] noun."""
    *_, possessive, zh_possessive = rng.choice(lexicon.SUBJECTS)
    singular, _, zh_noun, _ = rng.choice(lexicon.NOUNS)
    pointer, zh_pointer = rng.choice((("This", "这"), ("That", "那")))
    if rng.random() < 0.5:
        colour, zh_colour = rng.choice(list(lexicon.COLOURS.items()))
        singular, zh_noun = f"{colour} {singular}", f"{zh_colour}{zh_noun}"
    return f"{pointer} is {possessive} {singular}.", f"{zh_pointer}是{zh_possessive}{zh_noun}。"


def _item(task: str, phrasing: str, text: str, answer: str, *, key: str = ALWAYS_TRAINED) -> Item:
    return Item(task=task, key=key, messages=(user(phrasing.format(text=text)),), answer=answer)
