"""Raw HTTP requests, good and bad, for the cluster and for a bare vLLM server alike."""

from dataclasses import dataclass, field
from typing import Any

import httpx2

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
PROMPT = "Once upon a time there was a robot"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
        },
    },
}
TALK = [
    {"role": "system", "content": "Answer shortly."},
    *MESSAGES,
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And of Germany?"},
]


def named(tool: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool}}


def schema(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": value}}


def tool(parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": "f", "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


@dataclass(frozen=True)
class Call:
    """`status` is what it should be answered with."""

    name: str
    path: str
    body: dict[str, Any] | None = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    status: int = 200

    def send(self, http: httpx2.Client) -> httpx2.Response:
        data = {"json": self.body} if self.content is None else {"content": self.content}
        return http.request(self.method, self.path, headers=self.headers, **data)


def chat(name: str, status: int = 200, **body: Any) -> Call:
    defaults = {"model": "demo", "messages": MESSAGES, "temperature": 0, "max_tokens": 24}
    return Call(name, "/v1/chat/completions", {**defaults, **body}, status=status)


def completion(name: str, status: int = 200, **body: Any) -> Call:
    defaults = {"model": "demo", "prompt": PROMPT, "temperature": 0, "max_tokens": 24}
    return Call(name, "/v1/completions", {**defaults, **body}, status=status)


def get(path: str, status: int = 200) -> Call:
    return Call(f"GET {path}", path, method="GET", status=status)


def post(path: str, status: int = 200, **body: Any) -> Call:
    return Call(f"POST {path}", path, {"model": "demo", **body}, status=status)


STREAMABLE = (
    chat("chat"),
    chat("conversation", messages=TALK),
    chat("chat logprobs", logprobs=True, top_logprobs=3),
    chat("several seeded choices", n=3, temperature=1, seed=5),
    chat("tools, free choice", tools=[WEATHER]),
    chat("named tool", tools=[WEATHER], tool_choice=named("get_weather")),
    chat("required tool", tools=[WEATHER], tool_choice="required", max_tokens=60),
    chat("JSON object", response_format={"type": "json_object"}),
    chat("JSON schema", response_format=schema(SCHEMA)),
    chat("max_completion_tokens", max_completion_tokens=7),
    chat("token ids", return_token_ids=True),
    completion("completion"),
    completion("several prompts", prompt=[PROMPT, "今天天气"]),
    completion("prompt of token ids", prompt=[5, 6, 7, 8]),
    completion("completion logprobs", logprobs=3),
    completion("echo", echo=True),
    completion("echo with logprobs", echo=True, logprobs=1),
    completion("stop", stop=["e"], include_stop_str_in_output=True),
    completion("penalties", presence_penalty=1, frequency_penalty=0.5, repetition_penalty=1.1),
    completion("logit bias", logit_bias={"100": 50}),
    completion("regex", structured_outputs={"regex": "[a-c]{8}"}),
    completion("choice", structured_outputs={"choice": ["yes", "no"]}),
    completion("ignore_eos", ignore_eos=True, min_tokens=24),
)  # fmt: skip

SINGLE = (
    completion("prompt logprobs", prompt_logprobs=1),
    completion("one token", max_tokens=1),
    post("/tokenize", prompt="Hello 今天"),
    post("/tokenize", messages=TALK, add_generation_prompt=True, return_token_strs=True),
    post("/detokenize", tokens=[300, 301, 302]),
    post("/v1/messages", messages=MESSAGES, max_tokens=24, temperature=0),
    post("/v1/messages/count_tokens", messages=MESSAGES),
    post("/v1/responses", input="Hello", max_output_tokens=16, temperature=0),
    get("/version"),
)

BAD = (
    chat("unknown model", 404, model="nobody"),
    completion("unknown model of a completion", 404, model="nobody"),
    Call("invalid JSON", "/v1/chat/completions", content=b'{"model": "demo", ',
         headers={"content-type": "application/json"}, status=400),
    Call("no body", "/v1/chat/completions", content=b"",
         headers={"content-type": "application/json"}, status=400),
    Call("a list as body", "/v1/chat/completions", content=b"[1, 2]",
         headers={"content-type": "application/json"}, status=400),
    Call("unsupported media type", "/v1/chat/completions", content=b'{"model": "demo"}',
         headers={"content-type": "text/plain"}, status=400),
    chat("max_tokens of a wrong type", 400, max_tokens="many"),
    chat("temperature of a wrong type", 400, temperature={}),
    chat("messages of a wrong type", 400, messages="hello"),
    chat("model of a wrong type", 400, model=7),
    completion("stream of a wrong type", 400, stream="perhaps"),
    post("/v1/chat/completions", 400),
    post("/v1/completions", 400),
    chat("prompt over max_model_len", 400, messages=[{"role": "user", "content": "zq " * 5000}]),
    completion("prompt over max_model_len", 400, prompt=[5] * 4097),
    completion("prompt and max_tokens over max_model_len", 400, max_tokens=5000),
    completion("empty prompt", 400, prompt=""),
    completion("token ids out of the vocabulary", 400, prompt=[999_999]),
    completion("negative max_tokens", 400, max_tokens=-1),
    chat("negative max_tokens of a chat", 400, max_tokens=-1),
    completion("negative temperature", 400, temperature=-0.5),
    completion("top_p over 1", 400, top_p=2),
    completion("n of 0", 400, n=0),
    completion("too many logprobs", 400, logprobs=1000),
    completion("bad regex", 400, structured_outputs={"regex": "(["}),
    chat("bad JSON schema", 400, response_format=schema({"type": 5})),
    chat("unknown response format", 400, response_format={"type": "poem"}),
    chat("bad tool schema", 400, tools=[tool({"type": "nonsense"})], tool_choice="required"),
    chat("tool without a name", 400, tools=[{"type": "function", "function": {}}]),
    chat("tool choice of no tool", 400, tools=[WEATHER], tool_choice=named("other")),
    chat("tool choice without tools", 400, tool_choice="required"),
    post("/tokenize", 400),
    post("/detokenize", 400, tokens="x"),
    post("/v1/responses", 400),
    post("/v1/messages", 400),
)  # fmt: skip

# vLLM has no such route for a generating model, and says so in FastAPI's words, not OpenAI's.
NO_ROUTE = (
    post("/v1/embeddings", 404, input="Hello"),
    post("/score", 404, text_1="a", text_2="b"),
    post("/v1/nothing", 404),
    get("/v1/chat/completions?model=demo", 405),
)
