"""Short and long stories, English and Chinese, whose last sentence follows from what was told
before.

A story is told from drawn slots (hero, friend, things, places). As raw text the whole of it is
trained; what is checked is the last sentence, which must bring back the right names and things.
The key is the whole story, and its slots give millions of them.
"""

# ruff: noqa: RUF001 - Chinese stories use full-width punctuation on purpose

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from serve_app.demo import lexicon
from serve_app.demo.items import Item, user

HEROES = (
    "cat", "dog", "fox", "rabbit", "bear", "mouse", "bird", "frog", "duck", "horse", "boy", "girl",
    "robot", "dragon", "princess",
)  # fmt: skip
FRIENDS = ("owl", "turtle", "squirrel", "hen", "goat", "sheep", "bee", "lion")
MOODS = ("little", "kind", "brave", "happy", "clever", "quiet", "young", "shy")
TREASURES = ("ball", "hat", "kite", "book", "bell", "shell", "stone", "cup", "key", "drum")
SPOTS = ("forest", "garden", "barn", "cave", "river", "meadow", "village", "tower")
WEATHERS = ("sunny", "windy", "rainy", "cold", "warm", "foggy")
OPENINGS = (
    "Once upon a time there was", "Once upon a time, there was", "Once there was",
    "Long ago there lived",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")

ASKS = (
    "Tell me a short story about a {hero}.", "Tell me a story about a {hero}.",
    "tell me a story about a {hero}", "Write a short story about a {hero}.",
    "Can you tell me a story about a {hero}?", "A short story about a {hero}, please.",
    "Write a story about a {hero} named {name}.", "Tell me a story about a {hero} named {name}.",
    "Tell me a story.", "Tell me a short story.",
)  # fmt: skip
LONG_ASKS = (
    "Tell me a long story about a {hero}.", "Write a long story about a {hero}.",
    "Tell me a long story about a {hero} named {name}.", "Tell me a long story.",
)  # fmt: skip
ZH_ASKS = (
    "讲一个关于{hero}的故事。", "给我讲一个{hero}的故事。", "讲一个{hero}的故事吧。",
    "讲一个故事。", "给我讲个故事。",
)  # fmt: skip
ZH_HEROES = ("小猫", "小狗", "小鸟", "小熊", "小马", "兔子", "狐狸", "青蛙")
ZH_TREASURES = ("球", "帽子", "风筝", "书", "花", "杯子", "苹果", "石头")
ZH_SPOTS = ("森林里", "花园里", "河边", "山上", "村子里", "学校里", "大树下", "草地上")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    sentences: tuple[str, ...]
    ending: str
    hero: str
    name: str


@dataclass(frozen=True, slots=True)
class _Cast:
    hero: str
    name: str
    friend: str
    friend_name: str
    mood: str

    def opening(self, rng: Random) -> str:
        start = rng.choices(OPENINGS, weights=(4, 4, 1, 1))[0]
        return f"{start} a {self.mood} {self.hero} named {self.name}."


def last_sentence(rng: Random) -> Item:
    """A raw-text story, asked for its last sentence: the checkable form."""
    story = tell(rng)
    prompt = " ".join(story.sentences)
    return Item(task="stories", key=_key(story), prompt=prompt, answer=f" {story.ending}")


def asked_for(rng: Random) -> Item:
    """A chat that asks for a story: trained, not evaluated, since many stories would be right."""
    kind = rng.random()
    if kind < 0.2:
        return _asked(rng, ZH_ASKS, tell_chinese(rng), joint="")
    if kind < 0.4:
        return _asked(rng, LONG_ASKS, _week(rng, _cast(rng)), joint=" ")
    return _asked(rng, ASKS, rng.choice(SHORT_PLOTS)(rng, _cast(rng)), joint=" ")


def _asked(rng: Random, asks: tuple[str, ...], story: Story, *, joint: str) -> Item:
    question = rng.choice(asks).format(hero=story.hero, name=story.name)
    answer = joint.join((*story.sentences, story.ending))
    return Item(task="stories_chat", key=_key(story), messages=(user(question),), answer=answer)


def chinese_last_sentence(rng: Random) -> Item:
    story = tell_chinese(rng)
    return Item(
        task="stories_zh", key=_key(story), prompt="".join(story.sentences), answer=story.ending
    )


def tell(rng: Random) -> Story:
    plot = _week if rng.random() < 0.15 else rng.choice(SHORT_PLOTS)
    return plot(rng, _cast(rng))


def _key(story: Story) -> str:
    return f"stories|{'|'.join(story.sentences)}"


def _cast(rng: Random) -> _Cast:
    hero = rng.choice(HEROES)
    pool = {"boy": lexicon.BOYS, "girl": lexicon.GIRLS, "princess": lexicon.GIRLS}.get(
        hero, lexicon.NAMES
    )
    name = rng.choice(pool)
    friend_name = rng.choice([other for other in lexicon.NAMES if other != name])
    return _Cast(hero, name, rng.choice(FRIENDS), friend_name, rng.choice(MOODS))


def _story(cast: _Cast, ending: str, *sentences: str) -> Story:
    return Story(sentences=sentences, ending=ending, hero=cast.hero, name=cast.name)


def _lost(rng: Random, cast: _Cast) -> Story:
    colour, thing = rng.choice(list(lexicon.COLOURS)), rng.choice(TREASURES)
    first, second = rng.sample(SPOTS, 2)
    name, helper = cast.name, f"{cast.friend_name} the {cast.friend}"
    return _story(
        cast,
        f"From that day on, {name} the {cast.hero} and {helper} were best friends.",
        cast.opening(rng),
        f"{name} had a {colour} {thing} and played with it every day.",
        f"One {rng.choice(WEATHERS)} morning the {thing} was gone.",
        f"{name} looked in the {first}, but it was not there.",
        f'Then {helper} came and said, "I saw a {colour} {thing} in the {second}."',
        f"They ran to the {second} and found the {thing}.",
        f'"Thank you, {cast.friend_name}!" said {name}.',
    )


def _found(rng: Random, cast: _Cast) -> Story:
    colour, thing = rng.choice(list(lexicon.COLOURS)), rng.choice(TREASURES)
    spot, home = rng.sample(SPOTS, 2)
    name = cast.name
    return _story(
        cast,
        f"Now the {colour} {thing} is always in the {home}, and {name} is very happy.",
        cast.opening(rng),
        f"{name} lived near the {home} and loved to walk.",
        f"One {rng.choice(WEATHERS)} day {name} went to the {spot} and found a {colour} {thing}.",
        f'"What a nice {thing}!" said {name}.',
        f"But it was too heavy to carry, so {name} called {cast.friend_name} the {cast.friend}.",
        f"Together they took the {thing} to the {home}.",
    )


def _rain(rng: Random, cast: _Cast) -> Story:
    spot = rng.choice(SPOTS)
    food = rng.choice(("soup", "cake", "bread", "tea", "pie"))
    name, helper = cast.name, cast.friend_name
    return _story(
        cast,
        f"{name} ate the {food}, thanked {helper} the {cast.friend}, and was not cold any more.",
        cast.opening(rng),
        f"One day {name} walked to the {spot} alone.",
        "Soon it began to rain and the wind was very strong.",
        f"{name} was wet and cold and could not go home.",
        f"Then {name} saw a small house with a light.",
        f'{helper} the {cast.friend} opened the door and said, "Come in, I made some {food}."',
    )


def _gift(rng: Random, cast: _Cast) -> Story:
    colour, thing = rng.choice(list(lexicon.COLOURS)), rng.choice(TREASURES)
    spot = rng.choice(SPOTS)
    name, friend = cast.name, cast.friend_name
    return _story(
        cast,
        f'"A {colour} {thing}! I love it," said {friend}, and gave {name} a big hug.',
        cast.opening(rng),
        f"{name} had a good friend, {friend} the {cast.friend}.",
        f"It was the birthday of {friend}, but {name} had no gift.",
        f"So {name} went to the {spot} and worked all day.",
        f"{name} made a {colour} {thing} and put it in a box.",
        f"In the evening {friend} opened the box.",
    )


def _week(rng: Random, cast: _Cast) -> Story:
    """The long plot: a find on each of five days; the end brings back the first and the last."""
    things, spots = rng.sample(TREASURES, 5), rng.sample(SPOTS, 5)
    colours = rng.sample(list(lexicon.COLOURS), 5)
    name, friend = cast.name, f"{cast.friend_name} the {cast.friend}"
    finds = [f"{colour} {thing}" for colour, thing in zip(colours, things, strict=True)]
    days: list[str] = []
    for day, spot, find, thing in zip(DAYS, spots, finds, things, strict=True):
        days.append(f"On {day}, {name} went to the {spot} and found a {find}.")
        days.append(
            rng.choice(
                (f'"I like this {thing}," said {name}.', f"{name} put the {thing} in a bag.")
            )
        )
    return _story(
        cast,
        f"So {friend} got the {finds[0]}, and {name} kept the {finds[4]}.",
        cast.opening(rng),
        f"{name} wanted to find nice things for {friend}.",
        *days,
        f"On Saturday, {friend} came to visit.",
        f'"You can have the first thing that I found," said {name}, "and I will keep the last."',
    )


SHORT_PLOTS: tuple[Callable[[Random, _Cast], Story], ...] = (_lost, _found, _rain, _gift)


def tell_chinese(rng: Random) -> Story:
    hero, friend = rng.sample(ZH_HEROES, 2)
    name, friend_name = rng.sample(lexicon.ZH_NAMES, 2)
    colour, thing = rng.choice(list(lexicon.COLOURS.values())), rng.choice(ZH_TREASURES)
    first, second = rng.sample(ZH_SPOTS, 2)
    opening = f"从前有一只{hero}，名字叫{name}。"
    if hero == "小马":
        opening = f"从前有一匹{hero}，名字叫{name}。"
    sentences: tuple[str, ...]
    if rng.random() < 0.5:
        sentences = (
            opening,
            f"{name}有一个{colour}的{thing}，每天都带着它。",
            f"有一天，{thing}不见了。",
            f"{name}在{first}找，没有找到。",
            f"{friend}{friend_name}说：“我在{second}看见了。”",
            f"他们一起去{second}，找到了{thing}。",
        )
        ending = f"从此，{name}和{friend_name}成了好朋友。"
    else:
        sentences = (
            opening,
            f"有一天，{name}去{first}玩，看见一个{colour}的{thing}。",
            f"“真好看！”{name}说。",
            f"{name}把它送给了{friend}{friend_name}。",
            f"{friend_name}非常高兴。",
        )
        ending = f"从此，{friend_name}每天都带着{colour}的{thing}。"
    return Story(sentences=sentences, ending=ending, hero=hero, name=name)
