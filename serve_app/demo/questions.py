"""Questions and answers: arithmetic, capitals, and short passages that contain the answer.

Arithmetic keys are the two operands and the operator whatever the phrasing (a + b and b + a share
one), so a held-out sum is never seen in any form. A capital cannot be guessed: every fact is
trained, and what is held out is the pair (fact, phrasing).
"""

# ruff: noqa: RUF001 - Chinese questions use full-width punctuation on purpose

from random import Random

from serve_app.demo import lexicon
from serve_app.demo.items import Item, user

ADDITIONS = (
    "What is {a} + {b}?", "What's {a} + {b}?", "{a} + {b} = ?", "{a} + {b}", "{a} + {b} =",
    "Calculate {a} + {b}.", "How much is {a} + {b}?", "What is {a} plus {b}?", "Add {a} and {b}.",
    "{a}+{b}=?", "Please compute {a} + {b}.", "{a} + {b}等于多少？", "{a}加{b}等于多少？",
)  # fmt: skip
SUBTRACTIONS = (
    "What is {a} - {b}?", "What's {a} - {b}?", "{a} - {b} = ?", "{a} - {b}", "{a} - {b} =",
    "Calculate {a} - {b}.", "How much is {a} - {b}?", "What is {a} minus {b}?",
    "Subtract {b} from {a}.", "{a}-{b}=?", "Please compute {a} - {b}.", "{a} - {b}等于多少？",
    "{a}减{b}等于多少？",
)  # fmt: skip

CAPITAL_OF = (
    "What is the capital of {country}?",
    "What's the capital of {country}?",
    "what is the capital of {country}",
    "Which city is the capital of {country}?",
    "Tell me the capital of {country}.",
    "Name the capital of {country}.",
    "Do you know the capital of {country}?",
    "The capital of {country}?",
    "Please tell me the capital city of {country}.",
    "Can you tell me what the capital of {country} is?",
)
COUNTRY_OF = (
    "Which country has the capital {capital}?",
    "{capital} is the capital of which country?",
    "What country is {capital} the capital of?",
    "Of which country is {capital} the capital?",
)
ZH_CAPITAL_OF = (
    "{country}的首都是哪里？",
    "{country}的首都是什么？",
    "请问{country}的首都在哪里？",
    "哪个城市是{country}的首都？",
    "{country}的首都叫什么？",
)

THINGS = (
    "ball", "book", "cup", "hat", "bag", "key", "lamp", "box", "pen", "doll", "kite", "coat", "map",
    "phone", "clock", "spoon",
)  # fmt: skip
ROOMS = (
    "kitchen", "garden", "bedroom", "office", "garage", "school", "library", "car", "hall", "attic",
)  # fmt: skip
TRIPS = (
    "park", "beach", "museum", "market", "zoo", "station", "hospital", "cinema", "farm", "lake",
)  # fmt: skip
VEHICLES = ("bus", "train", "car", "bike", "boat", "taxi")
PASSAGE_LAYOUTS = (
    "{passage} {question}",
    "{passage}\n{question}",
    "{passage}\n\nQuestion: {question}",
    "Read this text: {passage}\n\n{question}",
    "Text: {passage}\nQuestion: {question}",
    "Answer the question from the text.\n\n{passage}\n\n{question}",
)


def arithmetic(rng: Random) -> Item:
    a, b = rng.randrange(100), rng.randrange(100)
    if rng.random() < 0.5:
        low, high = sorted((a, b))
        question, sign, result, key = rng.choice(ADDITIONS), "+", a + b, f"{low}+{high}"
    else:
        b, a = sorted((a, b))
        question, sign, result, key = rng.choice(SUBTRACTIONS), "-", a - b, f"{a}-{b}"
    return Item(
        task="arithmetic",
        key=f"arithmetic|{key}",
        messages=(user(question.format(a=a, b=b)),),
        answer=f"{a} {sign} {b} = {result}",
    )


def capitals(rng: Random) -> Item:
    country, capital, zh_country, zh_capital = rng.choice(lexicon.CAPITALS)
    kind = rng.choices((0, 1, 2), weights=(10, 4, 5))[0]
    if kind == 0:
        question = rng.choice(CAPITAL_OF).format(country=country)
        answer = f"The capital of {country} is {capital}."
    elif kind == 1:
        question = rng.choice(COUNTRY_OF).format(capital=capital)
        answer = f"{capital} is the capital of {country}."
    else:
        question = rng.choice(ZH_CAPITAL_OF).format(country=zh_country)
        answer = f"{zh_country}的首都是{zh_capital}。"
    return Item(
        task="capitals", key=f"capitals|{question}", messages=(user(question),), answer=answer
    )


def passages(rng: Random) -> Item:
    """Two or three facts of one kind about different people, and a question about one of them."""
    return passage_questions(rng, 1)[0]


def passage_questions(rng: Random, count: int) -> list[Item]:
    """Several questions about one passage; only the first one's prompt holds the passage."""
    names = rng.sample(lexicon.NAMES, rng.choice((2, 2, 3)))
    facts = rng.choice((_placed, _owned, _travelled))(rng, names)
    passage = " ".join(sentence for sentence, _ in facts)
    asked = rng.sample([pair for _, pairs in facts for pair in pairs], count)
    layout = rng.choice(PASSAGE_LAYOUTS)
    items: list[Item] = []
    for question, answer in asked:
        content = question if items else layout.format(passage=passage, question=question)
        key = f"passages|{passage}|{question}"
        items.append(Item(task="passages", key=key, messages=(user(content),), answer=answer))
    return items


# a sentence and the (question, answer) pairs it supports
Fact = tuple[str, tuple[tuple[str, str], ...]]


def _placed(rng: Random, names: list[str]) -> list[Fact]:
    things, rooms = rng.sample(THINGS, len(names)), rng.sample(ROOMS, len(names))
    facts: list[Fact] = []
    for name, thing, room in zip(names, things, rooms, strict=True):
        where = f"The {thing} is in the {room}."
        facts.append((
            f"{name} {rng.choice(('put', 'left'))} the {thing} in the {room}.",
            (
                (f"Where is the {thing}?", where),
                (f"Where is the {thing} now?", where),
                (f"What is in the {room}?", f"The {thing} is in the {room}."),
                (f"In which place is the {thing}?", where),
            ),
        ))  # fmt: skip
    return facts


def _owned(rng: Random, names: list[str]) -> list[Fact]:
    things = rng.sample(THINGS, len(names))
    colours = rng.sample(list(lexicon.COLOURS), len(names))
    facts: list[Fact] = []
    for name, thing, colour in zip(names, things, colours, strict=True):
        owner = f"{name} has the {colour} {thing}."
        colour_answer = f"{name}'s {thing} is {colour}."
        facts.append((
            f"{name} {rng.choice(('has', 'bought'))} a {colour} {thing}.",
            (
                (f"Who has the {thing}?", owner),
                (f"Who has the {colour} {thing}?", owner),
                (f"What color is {name}'s {thing}?", colour_answer),
                (f"What colour is {name}'s {thing}?", colour_answer),
            ),
        ))  # fmt: skip
    return facts


def _travelled(rng: Random, names: list[str]) -> list[Fact]:
    trips, vehicles = rng.sample(TRIPS, len(names)), rng.sample(VEHICLES, len(names))
    facts: list[Fact] = []
    for name, trip, vehicle in zip(names, trips, vehicles, strict=True):
        there = f"{name} went to the {trip}."
        facts.append((
            f"{name} went to the {trip} by {vehicle}.",
            (
                (f"Where did {name} go?", there),
                (f"Who went to the {trip}?", there),
                (f"How did {name} go to the {trip}?", f"{name} went by {vehicle}."),
                (f"Who went by {vehicle}?", f"{name} went by {vehicle}."),
            ),
        ))  # fmt: skip
    return facts
