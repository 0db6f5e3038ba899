"""The shape of what each kind of workload asks, and how sessions are shared out."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from loadtest.scenario import Scenario, ScenarioError
from loadtest.target import Target, TargetError
from loadtest.workloads import build_sessions
from loadtest.workloads.kit import Kit
from tests.loadtest.demo_target import demo_target, first_prompt, token_ids

CHATS = {
    "kind": "conversation",
    "turns": {"min": 2, "max": 5},
    "user_tokens": {"min": 5, "max": 50},
    "output_tokens": 40,
    "system_tokens": 100,
}
DOCUMENTS = {
    "kind": "documents",
    "documents": 5,
    "document_tokens": {"min": 300, "max": 400},
    "question_tokens": 12,
    "output_tokens": 8,
}
TEXT = {"kind": "text", "prompt_tokens": {"min": 60, "max": 99}, "output_tokens": 8}
TASKS = {"kind": "tasks", "file": "qa"}


def closed(workload: dict[str, Any], sessions: int = 50, **more: Any) -> Scenario:
    fixed = {
        "name": "mine",
        "description": "x",
        "variant": "cpu",
        "mode": "closed",
        "users": 4,
        "duration_s": 10.0,
        "slo": "ttft_p99=1s",
    }
    return Scenario.model_validate(fixed | {"workload": workload, "sessions": sessions} | more)


def test_a_closed_loop_has_its_sessions_and_no_instants() -> None:
    sessions = build_sessions(closed(TEXT), demo_target())
    assert [(session.index, session.at_s) for session in sessions] == [(i, None) for i in range(50)]


def test_a_text_is_a_chat_or_a_completion() -> None:
    system = TEXT | {"system_tokens": 20}
    for chat in build_sessions(closed(system), demo_target()):
        assert (chat.chat, chat.kind) == (True, "chat")
        assert len(token_ids(chat.system or "")) == 20
    for completion in build_sessions(closed(system | {"chat": False}), demo_target()):
        assert (completion.chat, completion.kind, completion.system) == (False, "completion", None)
        assert len(token_ids(first_prompt(completion))) == completion.turns[0].prompt_tokens


def test_answers_have_exact_lengths_unless_told_otherwise() -> None:
    exact, *_ = build_sessions(closed(TEXT), demo_target())
    assert (exact.turns[0].max_tokens, exact.turns[0].min_tokens) == (8, 8)
    assert exact.extra == {"temperature": 0, "skip_special_tokens": False}
    loose = TEXT | {"exact_output": False, "extra": {"top_p": 0.5}}
    free, *_ = build_sessions(closed(loose), demo_target())
    assert (free.turns[0].max_tokens, free.turns[0].min_tokens) == (8, None)
    assert free.extra == {"top_p": 0.5}


def test_a_conversation_has_turns_that_follow_each_other() -> None:
    sessions = build_sessions(closed(CHATS), demo_target())
    assert {len(session.turns) for session in sessions} == {2, 3, 4, 5}
    assert len({session.system for session in sessions}) == 1
    assert len(token_ids(sessions[0].system or "")) == 100
    for session in sessions:
        first, *later = session.turns
        assert first.think_s == 0
        assert first.prompt_tokens == len(token_ids(first_prompt(session)))
        assert all(1 <= turn.think_s <= 20 and turn.prompt_tokens is None for turn in later)
        assert all(5 <= len(token_ids(turn.user)) <= 50 for turn in session.turns)


def test_a_conversation_ends_where_the_context_does() -> None:
    target = demo_target(300)
    sessions = build_sessions(closed(CHATS | {"turns": 50}), target)
    exchange = Kit(target).exchange_tokens
    for session in sessions:
        prompt = session.turns[0].prompt_tokens or 0
        assert 1 <= len(session.turns) < 50
        for before, turn in zip(session.turns, session.turns[1:], strict=False):
            prompt += before.max_tokens + exchange + len(token_ids(turn.user))
        assert prompt + session.turns[-1].max_tokens <= 300


def test_documents_come_again_and_questions_do_not() -> None:
    sessions = build_sessions(closed(DOCUMENTS, sessions=200), demo_target())
    prompts = [token_ids(first_prompt(session)) for session in sessions]
    wanted = Counter(tuple(prompt[:290]) for prompt in prompts)
    assert len(wanted) == 5
    assert len({tuple(prompt) for prompt in prompts}) == 200
    (most, _), *_, (least, _) = wanted.most_common()
    assert wanted[most] == pytest.approx(200 / (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5), rel=0.25)
    assert wanted[most] > 2 * wanted[least]


def test_without_skew_documents_are_wanted_alike() -> None:
    sessions = build_sessions(closed(DOCUMENTS | {"skew": 0.0}, sessions=400), demo_target())
    wanted = Counter(tuple(token_ids(first_prompt(session))[:290]) for session in sessions)
    assert sorted(wanted.values()) == pytest.approx([80] * 5, rel=0.3)


def test_tenants_get_their_share_and_ask_their_own() -> None:
    tenants = [
        {"name": "a", "share": 3},
        {"name": "b", "share": 1, "workload": DOCUMENTS},
    ]
    sessions = build_sessions(closed(TEXT, sessions=400, tenants=tenants), demo_target())
    count = Counter(session.tenant for session in sessions)
    assert count["b"] == pytest.approx(100, rel=0.3)
    assert {(session.tenant, session.kind) for session in sessions} == {
        ("a", "chat"),
        ("b", "documents"),
    }


def test_a_tenant_more_leaves_the_others_prompts_alone() -> None:
    def asked_by_a(tenants: list[dict[str, Any]]) -> list[str]:
        sessions = build_sessions(closed(TEXT, tenants=tenants), demo_target())
        return [session.turns[0].user for session in sessions if session.tenant == "a"]

    a, b = {"name": "a", "share": 1.0}, {"name": "b", "share": 1.0}
    alone, beside = asked_by_a([a]), asked_by_a([a, b])
    assert beside == alone[: len(beside)]


@pytest.mark.parametrize("workload", [TEXT, CHATS, DOCUMENTS, TASKS])
def test_more_sessions_begin_with_the_same_ones(workload: dict[str, Any]) -> None:
    few = build_sessions(closed(workload, sessions=20), demo_target())
    many = build_sessions(closed(workload, sessions=60), demo_target())
    assert many[:20] == few


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (TEXT | {"prompt_tokens": 8}, r"mine: workload\.prompt_tokens: 8 leaves no room"),
        (TEXT | {"system_tokens": 60}, "template and system prompt alone take 7[0-9] tokens"),
        (TEXT | {"prompt_tokens": 2041}, r"workload\.prompt_tokens: a prompt of 2041 tokens"),
        (CHATS | {"user_tokens": 2000}, r"workload\.user_tokens: .* longer than the 2048 tokens"),
        (DOCUMENTS | {"output_tokens": 2000}, r"workload\.document_tokens: .* with an answer of"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(workload: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        build_sessions(closed(workload), demo_target())


def test_a_tenants_workload_is_named_where_it_does_not_fit() -> None:
    tenants = [{"name": "a", "share": 1, "workload": TEXT | {"prompt_tokens": 3000}}]
    with pytest.raises(ScenarioError, match=r"tenants\[0\]\.workload\.prompt_tokens: a prompt of"):
        build_sessions(closed(TEXT, tenants=tenants), demo_target())


def test_only_generated_prompts_need_a_tokenizer() -> None:
    target = Target(base_url="http://x", model="m")
    assert len(build_sessions(closed(TASKS), target)) == 50
    for workload in (TEXT, CHATS, DOCUMENTS):
        with pytest.raises(TargetError, match="--tokenizer"):
            build_sessions(closed(workload), target)


def test_an_unknown_context_limits_nothing() -> None:
    target = replace(demo_target(), max_model_len=None)
    (session,) = build_sessions(closed(TEXT | {"prompt_tokens": 9000}, sessions=1), target)
    assert session.turns[0].prompt_tokens == 9000


def test_a_load_without_sessions_is_refused() -> None:
    arrivals = {"kind": "poisson", "rate_per_s": 1e-6}
    opened = {"mode": "open", "users": None, "sessions": None, "arrivals": arrivals}
    with pytest.raises(ScenarioError, match="arrivals: no session starts within the 10 s"):
        build_sessions(closed(TEXT, **opened), demo_target())


def test_a_tenant_may_have_no_session() -> None:
    tenants = [{"name": "a", "share": 1.0}, {"name": "b", "share": 1e-9}]
    sessions = build_sessions(closed(TEXT, tenants=tenants), demo_target())
    assert {session.tenant for session in sessions} == {"a"}
