"""Raw sentence completion, English and Chinese: the beginning of a sentence determines its end.

Each item joins a key word that decides the ending (a place, a season, a state) with words that do
not (a name, a time of day), so a held-out item is an unseen combination of known words. `FIXED`
pairs are always trained and never evaluated.
"""

# ruff: noqa: RUF001 - Chinese sentences use full-width punctuation on purpose

from random import Random

from serve_app.demo import lexicon
from serve_app.demo.items import ALWAYS_TRAINED, Item

PURPOSES = {
    "library": "read a book", "kitchen": "cook dinner", "park": "play football",
    "shop": "buy some bread", "pool": "swim", "school": "learn new things",
    "cinema": "watch a film", "beach": "build a sandcastle", "farm": "feed the horses",
    "station": "catch a train", "hospital": "see a doctor", "post office": "send a letter",
}  # fmt: skip
SEASONS = {
    "spring": "plant flowers", "summer": "swim in the sea", "autumn": "collect leaves",
    "winter": "play in the snow",
}  # fmt: skip
OPPOSITES = {
    "happy": "sad", "tall": "short", "young": "old", "rich": "poor", "fast": "slow",
    "strong": "weak", "loud": "quiet", "awake": "asleep",
}  # fmt: skip
ZH_ACTIVITIES = {
    "图书馆": "看书", "厨房": "做饭", "公园": "踢足球", "商店": "买东西", "学校": "上课",
    "电影院": "看电影", "农场": "喂马", "车站": "等车", "医院": "看医生", "花园": "种花",
}  # fmt: skip
ZH_NEEDS = {"饿了": "吃饭", "渴了": "喝水", "累了": "睡觉", "病了": "看医生", "冷了": "穿大衣"}
ZH_SEASONS = {"春天": "种花", "夏天": "游泳", "秋天": "看红叶", "冬天": "玩雪"}

FIXED: tuple[tuple[str, str], ...] = (
    ("今天天气", "很好。"),
    ("明天天气", "也很好。"),
    ("昨天天气", "不好。"),
    ("The weather today is", " very nice."),
    ("Today the weather is", " very nice."),
    ("The capital of France is", " Paris."),
    ("中国的首都是", "北京。"),
    ("Hello, my name is", " Tom and I like to read."),
    ("你好，我叫", "小明，我喜欢看书。"),
)


def english(rng: Random) -> Item:
    kind = rng.randrange(4)
    name = rng.choice(lexicon.NAMES)
    if kind == 0:
        (first, first_colour), (second, colour) = rng.sample(list(lexicon.USUAL_COLOUR.items()), 2)
        prompt, ending = f"The {first} is {first_colour} and the {second} is", colour
    elif kind == 1:
        place, ending = rng.choice(list(PURPOSES.items()))
        prompt = f"{name} {rng.choice(('went', 'goes'))} to the {place} to"
    elif kind == 2:
        season, ending = rng.choice(list(SEASONS.items()))
        prompt = f"In {season}, {name} {rng.choice(('likes', 'loves', 'wants'))} to"
    else:
        quality, ending = rng.choice(list(OPPOSITES.items()))
        prompt = f"{name} is not {quality}{rng.choice(('.', ', so', ', because'))} {name} is"
    return _raw("completion_en", prompt, f" {ending}.")


def chinese(rng: Random) -> Item:
    kind = rng.randrange(4)
    name = rng.choice(lexicon.ZH_NAMES)
    if kind == 0:
        (first, first_colour), (second, colour) = rng.sample(
            list(lexicon.ZH_USUAL_COLOUR.items()), 2
        )
        prompt, ending = f"{first}是{first_colour}的，{second}是", f"{colour}的"
    elif kind == 1:
        place, ending = rng.choice(list(ZH_ACTIVITIES.items()))
        prompt = f"{rng.choice(('早上', '下午', '昨天', '今天', '明天'))}{name}在{place}"
    elif kind == 2:
        need, ending = rng.choice(list(ZH_NEEDS.items()))
        prompt = f"{rng.choice(('早上', '下午', '晚上', '现在'))}{name}{need}，想"
    else:
        season, ending = rng.choice(list(ZH_SEASONS.items()))
        prompt = f"{season}来了，{name}{rng.choice(('喜欢', '想', '要'))}"
    return _raw("completion_zh", prompt, f"{ending}。")


def fixed(rng: Random) -> Item:
    prompt, answer = rng.choice(FIXED)
    return Item(task="completion_fixed", key=ALWAYS_TRAINED, prompt=prompt, answer=answer)


def _raw(task: str, prompt: str, answer: str) -> Item:
    return Item(task=task, key=f"completion|{prompt}", prompt=prompt, answer=answer)
