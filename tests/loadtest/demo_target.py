"""The embedded demo model as a target, without a server: its own tokenizer and chat template."""

from collections.abc import Sequence
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from loadtest.framing import Framing, Message, Prompt
from loadtest.sessions import Session
from loadtest.target import Target
from loadtest.token_counter import LocalTokenizer

MODEL = Path(__file__).parents[2] / "serve_app" / "demo" / "model"
MAX_MODEL_LEN = 2048  # of `source: demo`, unless a spec says more

TOKENIZER = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
TEMPLATE = ImmutableSandboxedEnvironment().from_string(
    (MODEL / "chat_template.jinja").read_text(encoding="utf-8")
)


def rendered(prompt: Prompt) -> str:
    """The text that an engine gets."""
    if isinstance(prompt, str):
        return prompt
    return TEMPLATE.render(messages=list(prompt), add_generation_prompt=True)


def token_ids(prompt: Prompt) -> list[int]:
    return list(TOKENIZER.encode(rendered(prompt)).ids)


def first_prompt(session: Session) -> Prompt:
    """What a session's first turn asks."""
    if not session.chat:
        return session.turns[0].user
    system: Sequence[Message] = (
        [] if session.system is None else [{"role": "system", "content": session.system}]
    )
    return [*system, {"role": "user", "content": session.turns[0].user}]


def demo_target(max_model_len: int | None = MAX_MODEL_LEN) -> Target:
    counter = LocalTokenizer.load(MODEL)
    return Target(
        base_url="http://demo",
        model="demo",
        counter=counter,
        framing=Framing(counter, lambda prompt: len(token_ids(prompt))),
        max_model_len=max_model_len,
    )
