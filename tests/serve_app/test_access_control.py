"""Who gets in: keys at a Shell over stand-ins, told apart by nothing but whether they are known."""

from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from cluster.admission.tenants import Tenant
from serve_app.access_control import AccessControl, shown_key
from serve_app.caller import ANYONE, CALLER
from serve_app.errors import KeyNeededError
from serve_app.kept_streams import KeptStreams
from serve_app.resumable import Resumable
from serve_app.usage_book import Usage
from tests.serve_app.streaming_app import RESUMABLE, StreamingModel
from tests.serve_app.stub_models import StubModel, ask, no_peer, send, shell
from tests.serve_app.tenants import OPS, SEARCH, TENANTS, bearer, key_of
from tests.waiting import DEADLINE_S, eventually

CHAT = "/v1/chat/completions"


def guarded(*models, **more):
    models = models or (StubModel("one"), StubModel("two", adapters=("two-lora",)))
    return shell(*models, tenants=TENANTS, **more)


def chat(headers, model="one"):
    return ask(guarded(), "POST", CHAT, json={"model": model}, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(bearer("search"), id="a bearer token"),
        pytest.param({"authorization": f"bearer  {key_of('search')} "}, id="in other spelling"),
        pytest.param({"x-api-key": key_of("search")}, id="as Anthropic's clients do"),
        pytest.param({**bearer("search"), "x-api-key": "wrong"}, id="the bearer's comes first"),
        pytest.param(
            {"Authorization": "Basic YTpi", "x-api-key": key_of("search")}, id="beside basic"
        ),
    ],
)
def test_a_tenant_s_key_opens_inference(headers):
    response = chat(headers)
    assert response.status_code == 200
    assert response.json()["answered_by"] == "one"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer not-a-known-key"}, id="a wrong one"),
        pytest.param({"Authorization": "Bearer "}, id="an empty one"),
        pytest.param({"Authorization": "Basic c2VhcmNo"}, id="another scheme"),
        pytest.param({"Authorization": "Bearer \xff\xfe".encode("latin-1")}, id="bytes"),
        pytest.param({"Authorization": f"Bearer {SEARCH.key_hashes[0]}"}, id="the hash itself"),
        pytest.param({"x-api-key": "not-a-known-key"}, id="a wrong x-api-key"),
    ],
)
def test_without_a_known_key_the_answer_is_the_same_401(headers):
    response = chat(headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json() == {
        "error": {
            "message": "A valid API key is needed: send it as Authorization: Bearer KEY.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/fleet"),
        ("HEAD", "/metrics"),
        ("POST", "/fleet/explain"),
        ("POST", "/sleep"),
        ("POST", "/sleep/"),
        ("POST", "/v1/load_lora_adapter"),
        ("GET", "/server_info"),
        ("GET", "/docs"),
        ("POST", "/v1/of_another_vllm"),
        ("POST", "//v1/chat/completions"),
        ("OPTIONS", CHAT),
        ("POST", "/health"),
    ],
)
def test_operational_and_unknown_routes_are_for_admins(method, path):
    response = ask(guarded(StubModel("one")), method, path, headers=bearer("search"))
    assert response.status_code == 403
    if method != "HEAD":
        error = response.json()["error"]
        assert error["code"] == "admin_key_needed"
        assert "'search'" in error["message"]
    nobody = ask(guarded(StubModel("one")), method, path)
    assert nobody.status_code == 401


@pytest.mark.parametrize("path", ["/fleet", "/metrics", "/load"])
def test_an_admin_s_key_opens_them(path):
    assert ask(guarded(StubModel("one")), "GET", path, headers=bearer("ops")).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/version", "/ping"])
def test_probes_need_no_key(path):
    assert ask(guarded(), "GET", path).status_code == 200


def test_a_probe_s_path_does_not_lead_to_a_stream():
    headers = {"Last-Event-ID": "here.Zm9vYmFyYmF6cXV4MTIzNA.3"}
    assert ask(guarded(), "GET", "/version", headers=headers).status_code == 401


@pytest.mark.parametrize("path", ["/fleet", "/metrics", "/of_another_vllm"])
def test_who_resumes_a_stream_gets_no_further_than_before(path):
    headers = {**bearer("search"), "Last-Event-ID": "here.Zm9vYmFyYmF6cXV4MTIzNA.3"}
    assert ask(guarded(), "GET", path, headers=headers).status_code == 403


def test_a_preflight_has_no_key_and_is_answered_by_the_app():
    asked = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
    response = ask(guarded(), "OPTIONS", CHAT, headers=asked)
    assert response.status_code == 405  # the stand-in has no CORS: it does not know the method


def test_a_tenant_sees_and_uses_its_models_only():
    app, headers = guarded(), bearer("one-only")
    listed = ask(app, "GET", "/v1/models", headers=headers).json()["data"]
    assert [card["id"] for card in listed] == ["one"]
    for model in ("two", "two-lora"):
        assert ask(app, "GET", f"/v1/models/{model}", headers=headers).status_code == 404
        refused = ask(app, "POST", "/tokenize", json={"model": model}, headers=headers)
        assert refused.status_code == 404
        assert refused.json()["error"]["message"].endswith("Valid aliases: one.")
    unnamed = ask(app, "POST", "/tokenize", json={"prompt": "x"}, headers=headers)
    assert unnamed.json()["answered_by"] == "one"
    assert ask(app, "GET", "/v1/models/one", headers=headers).status_code == 200


def test_a_tenant_without_models_is_told_so():
    locked = Tenant(name="search", key_hashes=SEARCH.key_hashes, models=())
    app = shell(StubModel("one"), tenants=[locked])
    response = ask(app, "POST", CHAT, json={}, headers=bearer("search"))
    assert response.status_code == 404
    assert ask(app, "GET", "/v1/models", headers=bearer("search")).json()["data"] == []


def test_a_websocket_needs_a_key_too():
    client = TestClient(guarded())
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect("/v1/realtime?model=two"),
    ):
        pass
    assert denied.value.status_code == 401
    with client.websocket_connect("/v1/realtime?model=two", headers=bearer("search")) as socket:
        assert socket.receive_text() == "two"


def test_the_app_finds_who_asks_and_nobody_after():
    seen = []

    class Noting(StubModel):
        async def _answer(self, request):
            seen.append(CALLER.get())
            return await super()._answer(request)

    async def both() -> None:
        app = guarded(Noting("one"))
        for name in ("search", "ops"):
            await send(app, "POST", CHAT, json={}, headers=bearer(name))
        assert CALLER.get() is ANYONE

    asyncio.run(both())
    assert [(caller.tenant, caller.is_admin) for caller in seen] == [(SEARCH, False), (OPS, True)]


def test_an_open_cluster_asks_nobody():
    app = shell(StubModel("one"))
    assert ask(app, "GET", "/fleet", headers={"Authorization": "Bearer x"}).status_code == 200


def scope_with(**headers: str):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": CHAT, "headers": raw}


def test_a_key_that_is_taken_out_opens_nothing_any_more_and_a_new_one_does():
    access = AccessControl([SEARCH])
    old, new = (scope_with(authorization=f"Bearer {key_of(name)}") for name in ("search", "ops"))
    assert access.caller(old).tenant is SEARCH
    access.have_tenants([OPS])
    with pytest.raises(KeyNeededError):
        access.caller(old)
    assert access.caller(new).is_admin


def test_a_cluster_with_no_tenant_left_is_not_open():
    access = AccessControl([SEARCH])
    access.have_tenants([])
    for scope in (scope_with(), scope_with(authorization=f"Bearer {key_of('search')}")):
        with pytest.raises(KeyNeededError):
            access.caller(scope)


def test_a_key_s_letters_are_read_as_its_hash_was_made():
    assert shown_key(scope_with(authorization="Bearer schlüssel")) == "schlüssel"


def test_a_stream_is_its_tenant_s_alone():
    events = ["one", "two", "three"]

    async def read() -> None:
        streams = KeptStreams("here", 1_000_000, DEADLINE_S)
        model = StreamingModel([b"data: %b\n\n" % each.encode() for each in events])
        app = shell(model, resumable=Resumable(streams, no_peer), tenants=TENANTS)
        mine, others = bearer("search"), bearer("ops")
        first = await send(app, "POST", CHAT, json={}, headers={**mine, **RESUMABLE})
        last = {"Last-Event-ID": first.headers["x-tokenfleet-stream"]}
        assert (await send(app, "GET", CHAT, headers={**mine, **last})).status_code == 200
        assert (await send(app, "GET", CHAT, headers={**others, **last})).status_code == 410
        assert (await send(app, "GET", CHAT, headers=last)).status_code == 401
        streams.close()

    asyncio.run(read())


def test_a_tenant_is_told_its_own_usage_and_an_admin_all():
    sums = {
        (name, "one"): Usage(requests=place, prompt_tokens=7)
        for place, name in enumerate(("search", "ops", "gone"), start=1)
    }

    async def of_all():
        return sums, 1

    app = guarded(usage=of_all)

    def told(name: str, query: str = "") -> dict[str, int]:
        body = ask(app, "GET", f"/usage{query}", headers=bearer(name)).json()
        assert body["gateways_missing"] == 1
        return {row["tenant"]: row["requests"] for row in body["data"]}

    assert told("search") == told("search", "?tenant=ops") == {"search": 1}
    assert told("one-only") == {}
    assert told("ops") == {"search": 1, "ops": 2, "gone": 3}
    assert told("ops", "?tenant=gone") == {"gone": 3}
    assert ask(app, "GET", "/usage").status_code == 401


def test_clients_that_ask_for_usage_at_once_share_one_look():
    looks = []

    async def ask_at_once() -> None:
        looked = asyncio.Event()

        async def of_all():
            looks.append(None)
            await looked.wait()
            return {}, 0

        app = guarded(usage=of_all)
        asked = [
            asyncio.ensure_future(send(app, "GET", "/usage", headers=bearer("search")))
            for _ in range(5)
        ]
        await eventually(lambda: looks)
        looked.set()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 5
        await send(app, "GET", "/usage", headers=bearer("search"))

    asyncio.run(ask_at_once())
    assert len(looks) == 2


def test_what_a_row_of_usage_has():
    async def of_all():
        return {("search", "one"): Usage(requests=1, output_tokens=5, engine_s=0.5)}, 0

    body = ask(guarded(usage=of_all), "GET", "/usage", headers=bearer("search")).json()
    assert body == {
        "object": "list",
        "data": [
            {
                "tenant": "search",
                "model": "one",
                "requests": 1,
                "prompt_tokens": 0,
                "cached_tokens": 0,
                "output_tokens": 5,
                "engine_s": 0.5,
                "attempts": 0,
            }
        ],
        "gateways_missing": 0,
    }
