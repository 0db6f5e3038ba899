"""Exercises that teach what tasks rest on: copying, looking up, sums. Trained, not evaluated.

A small model learns to look back and copy (forms induction heads) only when most of its loss is
copying, and in the tasks only a few tokens per answer are. Measured: without drills, passages and
tool arguments were under 50 % after 800 steps; alone, lists over 64 words are copied after about
120 steps, over 200 words after 190, and over 2500 not after 150. So `first_copies` come before all
else, and the harder drills stay in the mixture. A sheet of sums holds many sums in few tokens, in
the form that an answer in chat has.
"""

from random import Random

from serve_app.demo import lexicon, questions, stories, tool_scenes
from serve_app.demo.items import is_held_out

# (text, whether its tokens are targets)
Segments = tuple[tuple[str, bool], ...]

WORDS = (
    *lexicon.NAMES, *lexicon.COLOURS, *questions.THINGS, *questions.ROOMS, *questions.TRIPS,
    *stories.HEROES, *stories.FRIENDS, *stories.TREASURES, *stories.SPOTS,
)  # fmt: skip
FEW_WORDS = (*lexicon.NAMES, *lexicon.COLOURS, *questions.THINGS, *questions.ROOMS[:8])
HANZI = sorted(set("".join((*lexicon.ZH_NAMES, *lexicon.COLOURS.values(), *stories.ZH_SPOTS))))
SUMS_PER_SHEET = 16


def first_copies(rng: Random) -> Segments:
    """A list over few words, each of them one token, and the same list again."""
    listed = "".join(f" {word}" for word in rng.choices(FEW_WORDS, k=rng.randrange(8, 33)))
    return ((listed, False), (listed, True))


def copying(rng: Random) -> Segments:
    """A list of words, then the same list again once or twice; the repeats are the target."""
    words, joint = _words(rng, rng.randrange(6, 24))
    listed = joint.join(words)
    again = joint.join([listed] * rng.choice((1, 2)))
    return ((listed, False), (joint + again, True))


def looking_up(rng: Random) -> Segments:
    """Pairs of words, then one word of each in another order; the word it stood with is the target.

    By the first word or, in every other drill, by the second: who did what, and what did who. A
    word is the same token wherever it stands, as in a sentence: with its space before it.
    """
    words, joint = _words(rng, 2 * rng.randrange(3, 9))
    if len(set(words)) < len(words):
        return looking_up(rng)
    comma, space = joint.rstrip(), " " if joint else ""
    spaced = [f"{space}{word}" for word in words]
    pairs = list(zip(spaced[::2], spaced[1::2], strict=True))
    shuffled = rng.sample(pairs, len(pairs))
    segments = [("".join(f"{first}{comma}{second}\n" for first, second in pairs), False)]
    backwards = rng.random() < 0.5
    for first, second in shuffled:
        asked, answer = (second, first) if backwards else (first, second)
        segments += [(f"{asked}{comma}", False), (answer, True), ("\n", False)]
    return tuple(segments)


def sums(rng: Random) -> Segments:
    """Lines of sums outside the held-out split; the results are the target."""
    segments: list[tuple[str, bool]] = []
    while len(segments) < 2 * SUMS_PER_SHEET:
        item = questions.arithmetic(rng)
        if not is_held_out(item.key):
            asked, result = item.answer.split(" =")
            segments += [(f"{asked} =", False), (f"{result}\n", True)]
    return tuple(segments)


def _words(rng: Random, count: int) -> tuple[list[str], str]:
    """Words of one sort, hardly ever the same twice, and what they are joined by."""
    kind = rng.randrange(4)
    if kind == 0:
        return [tool_scenes.invented_word(rng) for _ in range(count)], " "
    if kind == 1:
        return rng.sample(HANZI, count), ""
    return rng.sample(WORDS, count), " " if kind == 2 else ", "
