"""The Shell over stand-ins for its models: who answers, and what it says where nobody can."""

from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from cluster import spec as cluster_spec
from serve_app.errors import RETRY_AFTER_S, ModelFailedError, NoEngineError
from serve_app.model_app import ModelApp
from tests.serve_app.builders import KEYS
from tests.serve_app.stub_models import LIMIT, StubModel, ask, send, shell

CHAT = "/v1/chat/completions"


def two_models():
    return shell(StubModel("one"), StubModel("two", adapters=("two-lora",)))


@pytest.mark.parametrize(
    ("request_", "answered_by"),
    [
        pytest.param(("POST", CHAT, {"json": {"model": "one"}}), "one", id="by the body"),
        pytest.param(("POST", CHAT, {"json": {"model": "two"}}), "two", id="not only the first"),
        pytest.param(("POST", CHAT, {"json": {"model": "two-lora"}}), "two", id="by an adapter"),
        pytest.param(("GET", "/v1/responses/5?model=two", {}), "two", id="by the query"),
        pytest.param(
            ("POST", "/v1/audio/translations", {"data": {"model": "two"}, "files": {"f": b"x"}}),
            "two",
            id="by a form",
        ),
        pytest.param(("DELETE", "/v1/responses/5?model=two", {}), "two", id="a DELETE"),
        pytest.param(("GET", "/version", {}), "one", id="what all models answer alike"),
        pytest.param(("POST", CHAT, {"content": b"{"}), "one", id="malformed: vLLM says so"),
        pytest.param(("POST", CHAT, {"json": {"model": 5}}), "one", id="mistyped: vLLM says so"),
    ],
)
def test_who_answers(request_, answered_by):
    method, path, more = request_
    response = ask(two_models(), method, path, **more)
    assert response.status_code == 200
    assert response.json()["answered_by"] == answered_by


def test_the_model_s_app_gets_the_body_as_it_came():
    body = b'{ "model":"two","x":"\xc3\xbc" }'
    answer = ask(two_models(), "POST", CHAT, content=body).json()
    assert answer == {"answered_by": "two", "path": CHAT, "body": body.decode("latin-1")}


@pytest.mark.parametrize("request_", [("GET", "/v1/responses/5", {}), ("POST", CHAT, {"json": {}})])
def test_a_single_model_answers_whatever_has_no_name(request_):
    method, path, more = request_
    response = ask(shell(StubModel("one")), method, path, **more)
    assert response.json()["answered_by"] == "one"


@pytest.mark.parametrize("by_session", [False, True])
def test_a_user_is_a_session_only_where_sessions_decide(by_session):
    app = shell(StubModel("one", by_session=by_session))
    answer = ask(app, "POST", CHAT, json={"model": "one", "user": "ada"}).json()
    assert answer.get("session") == ("ada" if by_session else None)


def error_of(response) -> dict:
    """The error of a response that has the one shape all errors have."""
    assert response.headers["content-type"] == "application/json"
    (kind, error), *others = response.json().items()
    assert (kind, others) == ("error", [])
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == response.status_code
    return error


def test_an_unknown_model_is_not_found():
    error = error_of(ask(two_models(), "POST", CHAT, json={"model": "three"}))
    assert error == {
        "message": "The model `three` does not exist. Valid aliases: one, two.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(("GET", "/v1/responses/5", {}), id="no body"),
        pytest.param(("POST", CHAT, {"json": {"messages": []}}), id="a body without one"),
        pytest.param(("POST", CHAT, {"json": {"model": None}}), id="null"),
        pytest.param(("POST", "/reset_prefix_cache", {}), id="a POST without a body"),
    ],
)
def test_one_of_several_models_must_be_named(request_):
    method, path, more = request_
    error = error_of(ask(two_models(), method, path, **more))
    assert (error["code"], error["type"], error["param"]) == (400, "BadRequestError", "model")
    assert "one, two" in error["message"]
    assert "?model=" in error["message"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_a_body_over_the_limit_is_too_large(chunked):
    async def chunks():
        yield b"x" * LIMIT
        yield b"x"

    body = chunks() if chunked else b"x" * (LIMIT + 1)
    error = error_of(ask(two_models(), "POST", CHAT, content=body))
    assert (error["code"], error["type"]) == (413, "RequestEntityTooLarge")
    assert f"at most {LIMIT}" in error["message"]


def test_a_body_at_the_limit_is_passed_on():
    response = ask(two_models(), "POST", CHAT, content=b"x" * LIMIT)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("refusal", "status", "type_", "retry_after"),
    [
        (NoEngineError("none came"), 503, "ServiceUnavailableError", str(RETRY_AFTER_S)),
        (ModelFailedError("no tokenizer"), 500, "InternalServerError", None),
    ],
)
def test_a_model_without_an_app_says_why(refusal, status, type_, retry_after):
    response = ask(shell(StubModel("one", refusal=refusal)), "POST", CHAT, json={"model": "one"})
    error = error_of(response)
    assert (error["code"], error["type"], error["message"]) == (status, type_, str(refusal))
    assert response.headers.get("retry-after") == retry_after


def test_without_an_engine_a_request_waits_and_is_then_told_to_come_again():
    async def request_without_engines():
        spec = cluster_spec.parse(
            {
                "models": [{"name": "one", "source": "demo"}],
                "failover": {"hold_timeout_s": 0.05},
            }
        )
        model = ModelApp(spec, spec.models[0], KEYS.own)
        try:
            return await send(shell(model), "POST", CHAT, json={"model": "one"})
        finally:
            await model.close()

    response = asyncio.run(request_without_engines())
    assert error_of(response)["message"] == (
        "no engine of model 'one' became available within 0.05 s; try again later"
    )
    assert response.status_code == 503
    assert response.headers["retry-after"] == str(RETRY_AFTER_S)


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [
        pytest.param(503, {}, [str(RETRY_AFTER_S)], id="vLLM's 503 gets one"),
        pytest.param(503, {"Retry-After": "60"}, ["60"], id="one that is there stays"),
        pytest.param(500, {}, [], id="a 500 gets none"),
        pytest.param(200, {}, [], id="nor a 200"),
    ],
)
def test_retry_after(status, headers, retry_after):
    app = shell(StubModel("one", status=status, headers=headers))
    response = ask(app, "POST", CHAT, json={})
    assert response.status_code == status
    assert response.headers.get_list("retry-after") == retry_after
    assert response.json()["answered_by"] == "one"


def test_health_is_the_process_s_whatever_the_models_are():
    assert ask(shell(StubModel("one", engines=0)), "GET", "/health").status_code == 200


def test_ready_turns_when_every_model_has_an_engine():
    one, two = StubModel("one"), StubModel("two", engines=0)
    app = shell(one, two)
    response = ask(app, "GET", "/ready")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "engines": {"one": 1, "two": 0}, "failures": {}}
    two.switch.engines = 2
    response = ask(app, "GET", "/ready")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "engines": {"one": 1, "two": 2}, "failures": {}}


def test_a_model_that_sleeps_until_somebody_asks_is_ready():
    app = shell(StubModel("one", engines=0, asleep=True), StubModel("two"))
    response = ask(app, "GET", "/ready")
    assert response.status_code == 200
    assert response.json()["engines"] == {"one": 0, "two": 1}


def test_ready_says_which_model_cannot_be_served():
    app = shell(StubModel("one"), StubModel("two", engines=0, failure="no tokenizer"))
    assert ask(app, "GET", "/ready").json()["failures"] == {"two": "no tokenizer"}


def test_fleet_has_a_row_per_model():
    app = shell(StubModel("one", engines=2), StubModel("two"))
    flights = {"active": 0, "moved": 0, "failed": 0}
    engines = [{"id": "engine-0"}, {"id": "engine-1"}]
    assert ask(app, "GET", "/fleet").json() == {
        "gateway": "here",
        "models": [
            {"name": "one", "engines": engines, "flights": flights},
            {"name": "two", "engines": engines[:1], "flights": flights},
        ],
    }


def test_the_models_of_all_apps_are_one_list():
    listed = ask(two_models(), "GET", "/v1/models").json()
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == ["one", "two", "two-lora"]


@pytest.mark.parametrize("name", ["two", "two-lora", "meta-llama/Llama"])
def test_one_model_can_be_looked_up(name):
    app = shell(StubModel("one"), StubModel("two", adapters=("two-lora", "meta-llama/Llama")))
    assert ask(app, "GET", f"/v1/models/{name}").json() == {"id": name, "object": "model"}


def test_looking_up_an_unknown_model_is_not_found():
    assert error_of(ask(two_models(), "GET", "/v1/models/three"))["code"] == 404


@pytest.mark.parametrize("path", ["/health", "/ready", "/fleet", "/metrics", "/v1/models"])
def test_own_routes_answer_head_as_they_answer_get(path):
    app = two_models()
    head, get = ask(app, "HEAD", path), ask(app, "GET", path)
    assert head.status_code == get.status_code == 200
    assert head.headers.get("content-type") == get.headers.get("content-type")


@pytest.mark.parametrize("path", ["/health", "/metrics", "/fleet"])
def test_own_routes_are_for_reading_only(path):
    answer = ask(two_models(), "POST", path, json={"model": "two"}).json()
    assert answer["answered_by"] == "two"  # where vLLM's app refuses it


def test_a_client_that_leaves_while_it_sends_gets_no_answer():
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def note(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "query_string": b""}
    asyncio.run(two_models()(scope, receive, note))
    assert sent == []


def test_a_websocket_goes_to_the_model_of_its_query():
    client = TestClient(two_models())
    with client.websocket_connect("/v1/realtime?model=two") as socket:
        assert socket.receive_text() == "two"


def test_a_websocket_to_an_unknown_model_is_refused():
    client = TestClient(two_models())
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/realtime?model=three"),
    ):
        pass


def test_the_lifespan_has_nothing_to_wait_for():
    with TestClient(two_models()) as client:
        assert client.get("/health").status_code == 200
