"""Tenants on a real cluster of two gateways: keys, limits over both, usage, a full engine, and a
file that changes meanwhile."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from cluster.admission.keyring import key_hash
from cluster.admission.ledger import LedgerRecord, parse_line
from tests.integration.fleet import ENGINE, Fleet, bearer
from tests.waiting import until

ADMIN, CHAT, LIMITED, SHORT = "key-of-ops", "key-of-chat", "key-of-limited", "key-of-short"
NIGHTLY, HASTY = "key-of-nightly", "key-of-hasty"
OLD, NEW = "the-old-key-of-rotating", "the-new-key-of-rotating"
REQUESTS_PER_MIN = 20
REVOKED_WITHIN_S = 5.0
IN_A_ROW = 8  # answers alike, which come from both gateways

AT_A_TIME = 4  # requests, in the engine

SPEC = f"""
models:
  - name: demo
    source: demo
    engine: {ENGINE}
      max_num_seqs: {AT_A_TIME}
    resources: {{cpus: 0.2}}
gateway: {{replicas: 2, cpus: 0.2, usage_ledger: $folder/ledger}}
tenants_file: $folder/tenants.yaml
"""
TENANTS: list[dict[str, Any]] = [
    {"name": "ops", "key_hashes": [key_hash(ADMIN)], "admin": True},
    {"name": "chat", "key_hashes": [key_hash(CHAT)]},
    {
        "name": "limited",
        "key_hashes": [key_hash(LIMITED)],
        "requests_per_min": REQUESTS_PER_MIN,
    },
    {"name": "nightly", "key_hashes": [key_hash(NIGHTLY)], "priority": "batch"},
    {"name": "hasty", "key_hashes": [key_hash(HASTY)], "max_wait_s": 1.0},
    {"name": "short", "key_hashes": [key_hash(SHORT)], "models": []},
    {"name": "rotating", "key_hashes": [key_hash(OLD)]},
]
COMPLETION = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tenants")


@pytest.fixture(scope="module")
def tenants(folder: Path) -> Iterator[Fleet]:
    write(folder, TENANTS)
    fleet = Fleet.start(folder, SPEC, admin_key=ADMIN)
    try:
        fleet.wait_until_ready()
        yield fleet
    finally:
        printed = fleet.stop()
    assert "no process left" in printed


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": rows}))


def status(fleet: Fleet, key: str | None, method: str = "GET", path: str = "/v1/models") -> int:
    """Of an answer to whoever shows `key`, or none."""
    headers = {"Authorization": ""} if key is None else bearer(key)
    return fleet.http.request(method, path, headers=headers).status_code


def complete(fleet: Fleet, key: str, **more: Any) -> Any:
    async def ask() -> Any:
        async with fleet.client(key) as client:
            return await client.completions.create(**{**COMPLETION, **more})

    return asyncio.run(ask())


def test_a_known_key_is_answered_and_no_other(tenants: Fleet) -> None:
    assert complete(tenants, CHAT).choices[0].text
    for key in ("wrong", OLD[:-1], key_hash(CHAT)):
        with pytest.raises(openai.AuthenticationError) as caught:
            complete(tenants, key)
        assert key not in str(caught.value)
    response = tenants.http.post("/v1/completions", json=COMPLETION, headers={"Authorization": ""})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_an_anthropic_client_s_key_is_known_too(tenants: Fleet) -> None:
    body = {"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Authorization": "", "x-api-key": CHAT}
    assert tenants.http.post("/v1/messages", json=body, headers=headers).status_code == 200


def test_a_tenant_without_models_sees_and_uses_none(tenants: Fleet) -> None:
    listed = tenants.http.get("/v1/models", headers=bearer(SHORT)).json()
    assert listed["data"] == []
    with pytest.raises(openai.NotFoundError):
        complete(tenants, SHORT)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/fleet"),
        ("POST", "/fleet/explain"),
        ("GET", "/metrics"),
        ("GET", "/load"),
        ("GET", "/docs"),
        ("POST", "/scale_elastic_ep"),
        ("POST", "/reset_prefix_cache"),
    ],
)
def test_operational_routes_need_an_admin(tenants: Fleet, method: str, path: str) -> None:
    assert status(tenants, CHAT, method, path) == 403
    assert status(tenants, None, method, path) == 401
    assert status(tenants, ADMIN, method, path) not in (401, 403)


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/ping"])
def test_probes_need_no_key(tenants: Fleet, path: str) -> None:
    assert status(tenants, None, "GET", path) == 200


def test_pages_of_other_origins_may_not_ask(tenants: Fleet) -> None:
    origin = {"Origin": "http://a-page.example"}
    asked = {"Access-Control-Request-Method": "POST", "Authorization": ""}
    preflight = tenants.http.options("/v1/completions", headers=origin | asked)
    answer = tenants.http.post("/v1/completions", json=COMPLETION, headers=origin | bearer(CHAT))
    assert (preflight.status_code, answer.status_code) == (400, 200)
    for response in (preflight, answer):
        assert "access-control-allow-origin" not in response.headers


def test_a_stream_is_resumed_by_its_own_tenant_alone(tenants: Fleet) -> None:
    body = {**COMPLETION, "stream": True}
    resumable = {"x-tokenfleet-resumable": "true"}
    first = tenants.http.post("/v1/completions", json=body, headers=bearer(CHAT) | resumable)
    last = {"Last-Event-ID": first.headers["x-tokenfleet-stream"]}
    for key, expected in ((CHAT, 200), (ADMIN, 410), ("wrong", 401)):
        answers = [
            tenants.http.get("/v1/completions", headers=bearer(key) | last) for _ in range(4)
        ]
        assert [answer.status_code for answer in answers] == [expected] * 4
        assert all((answer.text == first.text) == (key == CHAT) for answer in answers)


def test_usage_is_what_the_answers_say_over_both_gateways_and_in_the_ledger(
    tenants: Fleet, folder: Path
) -> None:
    before = usage(tenants, CHAT)
    lines_before = len(ledger(folder, "chat"))
    answers = [complete(tenants, CHAT, n=1 + number % 2, temperature=1) for number in range(6)]
    until(
        lambda: usage(tenants, CHAT)["requests"] == before["requests"] + len(answers),
        what="all requests are counted",
    )
    now = usage(tenants, CHAT)
    for said, counted in (
        ("prompt_tokens", "prompt_tokens"),
        ("completion_tokens", "output_tokens"),
    ):
        total = sum(getattr(answer.usage, said) for answer in answers)
        assert now[counted] - before[counted] == total
    assert now["engine_s"] > before["engine_s"]
    until(
        lambda: len(ledger(folder, "chat")) == lines_before + len(answers),
        what="all requests are in the ledger",
    )
    assert len(list((folder / "ledger").iterdir())) == 2, "one file for each gateway"


def test_a_tenant_is_not_told_of_others_and_an_admin_is(tenants: Fleet) -> None:
    complete(tenants, CHAT)
    until(lambda: "chat" in told(tenants, ADMIN), what="the request is counted")
    assert told(tenants, CHAT, "?tenant=ops") == {"chat"}
    assert told(tenants, ADMIN, "?tenant=chat") == {"chat"}


def told(fleet: Fleet, key: str, query: str = "") -> set[str]:
    """The tenants that `GET /usage` tells of."""
    body = fleet.http.get(f"/usage{query}", headers=bearer(key)).raise_for_status().json()
    assert body["gateways_missing"] == 0
    return {row["tenant"] for row in body["data"]}


def usage(fleet: Fleet, key: str) -> Counter[str]:
    """A tenant's own counts of the model."""
    body = fleet.http.get("/usage", headers=bearer(key)).raise_for_status().json()
    counts: Counter[str] = Counter()
    for row in body["data"]:
        counts.update({k: v for k, v in row.items() if k not in ("tenant", "model")})
    return counts


def ledger(folder: Path, tenant: str) -> list[LedgerRecord]:
    lines = [
        line for file in (folder / "ledger").iterdir() for line in file.read_text().splitlines()
    ]
    return [record for record in map(parse_line, lines) if record.tenant == tenant]


def test_a_limit_holds_over_both_gateways(tenants: Fleet) -> None:
    async def ask(client: openai.AsyncOpenAI) -> int:
        """0 for an answer; for a refusal, the seconds after which to come again."""
        try:
            await client.completions.create(**{**COMPLETION, "max_tokens": 1})
        except openai.RateLimitError as error:
            return int(error.response.headers["retry-after"])
        return 0

    async def flood() -> list[int]:
        async with tenants.client(LIMITED) as client:
            rounds = [await asyncio.gather(*(ask(client) for _ in range(8))) for _ in range(10)]
        return [after_s for each in rounds for after_s in each]

    began_s = time.monotonic()
    found = asyncio.run(flood())
    refilled = math.ceil(REQUESTS_PER_MIN * (time.monotonic() - began_s) / 60)
    answered = found.count(0)
    assert REQUESTS_PER_MIN // 2 <= answered <= REQUESTS_PER_MIN + refilled + 1, found
    assert answered < len(found)
    assert max(found) <= 60


async def streamed(
    client: openai.AsyncOpenAI,
    tokens: int,
    number: int = 0,
    on_first: Callable[[], None] = lambda: None,
) -> tuple[float, str]:
    """The seconds to the first token, and the text."""
    began_s, first_s, text = time.monotonic(), math.inf, ""
    stream = await client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": f"Tell story {number}."}],
        max_tokens=tokens,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if content := chunk.choices[0].delta.content:
            if not text:
                first_s = time.monotonic() - began_s
                on_first()
            text += content
    return first_s, text


def test_batch_requests_make_room_and_lose_nothing(tenants: Fleet) -> None:
    """Five times what the engine runs at a time, and beside them, now and then, as many interactive
    ones as it runs."""

    async def both() -> tuple[list[tuple[float, str]], list[float], list[str]]:
        async with tenants.client(NIGHTLY) as nightly, tenants.client(CHAT) as chat:
            alone = [(await streamed(nightly, 150, number))[1] for number in range(AT_A_TIME)]
            # The engine is full when a permit for each of its places has been released.
            begun = asyncio.Semaphore(0)
            flood = [
                asyncio.ensure_future(streamed(nightly, 150, number % AT_A_TIME, begun.release))
                for number in range(5 * AT_A_TIME)
            ]
            for _ in range(AT_A_TIME):
                await begun.acquire()
            ttfts_s: list[float] = []
            for _ in range(3):
                at_once = [streamed(chat, 30, number) for number in range(AT_A_TIME)]
                ttfts_s += [first_s for first_s, _ in await asyncio.gather(*at_once)]
            return await asyncio.gather(*flood), ttfts_s, alone

    answers, ttfts_s, alone = asyncio.run(both())
    for number, (_, text) in enumerate(answers):
        assert text == alone[number % AT_A_TIME]
    waits_s = sorted(first_s for first_s, _ in answers)
    assert max(ttfts_s) < waits_s[len(waits_s) // 2]
    used = usage(tenants, NIGHTLY)
    assert used["attempts"] > used["requests"] == len(answers) + len(alone), "some were paused"


def test_who_cannot_be_served_in_time_is_told_when_to_come_again(tenants: Fleet) -> None:
    async def ask(client: openai.AsyncOpenAI) -> int:
        """0 for an answer, which is whole; for a refusal, when to come again."""
        try:
            answer = await client.completions.create(
                **{**COMPLETION, "max_tokens": 200}, extra_body={"ignore_eos": True}
            )
        except openai.InternalServerError as error:
            return int(error.response.headers["retry-after"])  # all 503s have it, and no other
        assert answer.usage.completion_tokens == 200
        return 0

    async def flood() -> list[int]:
        async with tenants.client(HASTY) as client:
            return await asyncio.gather(*(ask(client) for _ in range(40 * AT_A_TIME)))

    found = asyncio.run(flood())
    assert found.count(0) >= AT_A_TIME
    assert any(found), "not all can be served within a second"
    until(lambda: tenants.row()["flights"]["active"] == 0)


def test_a_key_is_replaced_and_revoked_by_editing_the_file(tenants: Fleet, folder: Path) -> None:
    def rotating(*keys: str) -> list[dict[str, Any]]:
        return [*TENANTS[:-1], {**TENANTS[-1], "key_hashes": [key_hash(key) for key in keys]}]

    assert (status(tenants, OLD), status(tenants, NEW)) == (200, 401)
    write(folder, rotating(OLD, NEW))
    everywhere(tenants, NEW, 200)
    assert status(tenants, OLD) == 200
    write(folder, rotating(NEW))
    everywhere(tenants, OLD, 401)
    assert status(tenants, NEW) == 200
    (folder / "tenants.yaml").write_text("tenants: [{name: broken}]")
    until(
        lambda: log(tenants).count("The tenants read before stay") == 2,
        what="both gateways have seen the broken file",
    )
    everywhere(tenants, NEW, 200)
    write(folder, TENANTS)
    everywhere(tenants, OLD, 200)
    everywhere(tenants, NEW, 401)


def log(fleet: Fleet) -> str:
    """What the gateways have logged."""
    return "".join(file.read_text() for file in fleet.folder.rglob("replica_*Gateway*.log"))


def everywhere(fleet: Fleet, key: str, expected: int) -> None:
    """Within seconds every gateway answers so."""
    until(
        lambda: {status(fleet, key) for _ in range(IN_A_ROW)} == {expected},
        within_s=REVOKED_WITHIN_S,
        what=f"a key is answered with {expected} everywhere",
    )
