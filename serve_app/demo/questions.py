"""Questions and answers: arithmetic, capitals, and short passages that contain the answer.

Arithmetic keys are the two operands and the operator whatever the phrasing (a + b and b + a share
one), so a held-out sum is never seen in any form. A capital cannot be guessed: every fact is
trained, and what is held out is the pair (fact, phrasing).
"""

# ruff: noqa: RUF001 - Chinese questions use full-width punctuation on purpose

from collections.abc import Callable
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
    "What is {country}'s capital?",
    "What city is the capital of {country}?",
    "I want to know the capital of {country}.",
    "Say the capital of {country}.",
    "Question: What is the capital of {country}?",
)
COUNTRY_OF = (
    "Which country has the capital {capital}?",
    "{capital} is the capital of which country?",
    "What country is {capital} the capital of?",
    "Of which country is {capital} the capital?",
    "{capital} is the capital of what country?",
    "Tell me which country has the capital {capital}.",
)
ZH_CAPITAL_OF = (
    "{country}的首都是哪里？",
    "{country}的首都是什么？",
    "请问{country}的首都在哪里？",
    "哪个城市是{country}的首都？",
    "{country}的首都叫什么？",
    "{country}的首都是哪个城市？",
    "你知道{country}的首都吗？",
    "告诉我{country}的首都。",
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
FOODS = ("soup", "rice", "bread", "fish", "cake", "eggs", "cheese", "noodles")
MEALS = ("breakfast", "lunch", "dinner")
PASSAGE_LAYOUTS = (
    "{passage} {question}",
    "{passage}\n{question}",
    "{passage}\n\nQuestion: {question}",
    "Read this text: {passage}\n\n{question}",
    "Text: {passage}\nQuestion: {question}",
    "Answer the question from the text.\n\n{passage}\n\n{question}",
)


def arithmetic(rng: Random) -> Item:
    """A number under 100 plus or minus a digit or a whole number of tens.

    A carry then passes one digit only. Of sums of any two numbers under 100, a model of this size
    had learned under three quarters after 100,000 examples.
    """
    a, b = rng.randrange(100), rng.choice((rng.randrange(10), 10 * rng.randrange(1, 10)))
    if rng.random() < 0.5:
        low, high = sorted((a, b))
        a, b = rng.choice(((a, b), (b, a)))
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
    """Two or three facts of different kinds about different people, and a question about one."""
    return passage_questions(rng)[0]


def passage_questions(rng: Random) -> list[Item]:
    """A question about every fact of one passage; only the first one's prompt holds the passage.

    No fact is asked about twice: the second answer could be copied from the first. Two things a
    model of this size did not learn, and is not asked: to tell facts of one kind apart, and to say
    who did something (it named any of the people, after 800 steps as after 1,000).
    """
    count = rng.choice((2, 3))
    names = rng.sample(lexicon.NAMES, count)
    told = [fact(rng, name) for fact, name in zip(rng.sample(FACTS, count), names, strict=True)]
    passage = " ".join(sentence for sentence, _ in told)
    layout = rng.choice(PASSAGE_LAYOUTS)
    items: list[Item] = []
    for _, pairs in rng.sample(told, count):
        question, answer = rng.choice(pairs)
        content = question if items else layout.format(passage=passage, question=question)
        key = f"passages|{passage}|{question}"
        items.append(Item(task="passages", key=key, messages=(user(content),), answer=answer))
    return items


# a sentence, and (question, answer) pairs about it
Fact = tuple[str, tuple[tuple[str, str], ...]]


def _placed(rng: Random, name: str) -> Fact:
    thing, room = rng.choice(THINGS), rng.choice(ROOMS)
    where = f"The {thing} is in the {room}."
    return (
        f"{name} {rng.choice(('put', 'left'))} the {thing} in the {room}.",
        (
            (f"Where is the {thing}?", where),
            (f"Where is the {thing} now?", where),
            (f"What is in the {room}?", where),
        ),
    )


def _owned(rng: Random, name: str) -> Fact:
    thing, colour = rng.choice(THINGS), rng.choice(list(lexicon.COLOURS))
    look = f"The {thing} is {colour}."
    return (
        f"{name} has a {colour} {thing}.",
        (
            (f"What does {name} have?", f"{name} has a {colour} {thing}."),
            (f"What color is the {thing}?", look),
            (f"What colour is the {thing} of {name}?", look),
        ),
    )


def _travelled(rng: Random, name: str) -> Fact:
    trip, vehicle = rng.choice(TRIPS), rng.choice(VEHICLES)
    return (
        f"{name} went to the {trip} by {vehicle}.",
        (
            (f"Where did {name} go?", f"{name} went to the {trip}."),
            (f"How did {name} go to the {trip}?", f"{name} went by {vehicle}."),
        ),
    )


def _ate(rng: Random, name: str) -> Fact:
    food, meal = rng.choice(FOODS), rng.choice(MEALS)
    ate = f"{name} ate {food}."
    return (
        f"{name} ate {food} for {meal}.",
        (
            (f"What did {name} eat?", ate),
            (f"What did {name} eat for {meal}?", ate),
            (f"When did {name} eat {food}?", f"{name} ate {food} for {meal}."),
        ),
    )


FACTS: tuple[Callable[[Random, str], Fact], ...] = (_placed, _owned, _travelled, _ate)
