"""What each attempt at a request is sent, and that the request itself stays as it came."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.pooling_params import PoolingParams
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from cluster.failover import ResumeKind
from cluster.routing.block_hash import block_hashes
from serve_app.replay import FORCED_TOKENS_KEY
from serve_app.resume import (
    UNBOUNDED_OUTPUT_TOKENS,
    attempt_request,
    described,
    drop_reserved,
    expected_tokens,
    prompt_tokens,
    route_request,
)
from tests.serve_app.builders import pooling_request, request

NOT_HURRIED = settings(deadline=None)
EMITTED = [10, 11, 12]


def encoded(sent: EngineCoreRequest) -> list[bytes]:
    return [bytes(frame) for frame in MsgpackEncoder().encode(sent)]


def as_engine_sees(sent: EngineCoreRequest) -> EngineCoreRequest:
    return MsgpackDecoder(EngineCoreRequest).decode(MsgpackEncoder().encode(sent))


def changed_fields(original: EngineCoreRequest, attempt: EngineCoreRequest) -> set[str]:
    before, after = msgspec.structs.asdict(original), msgspec.structs.asdict(attempt)
    return {name for name in before if before[name] != after[name]}


def changed_sampling(original: EngineCoreRequest, attempt: EngineCoreRequest) -> set[str]:
    before, after = original.sampling_params, attempt.sampling_params
    return {
        name
        for name in SamplingParams.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    }


@pytest.mark.parametrize("kind", ResumeKind)
@pytest.mark.parametrize(
    "sampling",
    [
        pytest.param({}, id="plain"),
        pytest.param({"min_tokens": 9, "prompt_logprobs": 2, "logprobs": 3}, id="prompt logprobs"),
        pytest.param({"extra_args": {"mine": [1]}, "bad_words": ["x"]}, id="extra arguments"),
        pytest.param({"structured_outputs": StructuredOutputsParams(regex="a+")}, id="grammar"),
    ],
)
def test_no_attempt_changes_the_request(kind, sampling):
    original = request("r", **sampling)
    original.client_index = 3
    before = encoded(original)
    emitted = list(EMITTED)
    attempt = attempt_request(original, "r#1", kind, emitted)
    attempt.prompt_token_ids.append(99) if kind is ResumeKind.PREFILL else None
    emitted.append(13)  # the flight goes on collecting
    assert encoded(original) == before
    assert 13 not in attempt.prompt_token_ids
    assert 13 not in (attempt.sampling_params.extra_args or {}).get(FORCED_TOKENS_KEY, [])


@pytest.mark.parametrize("kind", ResumeKind)
def test_every_attempt_has_its_own_id_and_the_first_client_s_index(kind):
    original = request("r")
    original.client_index = 3
    attempt = attempt_request(original, "r#1", kind, EMITTED)
    assert (attempt.request_id, attempt.client_index) == ("r#1", 0)
    assert attempt.external_req_id == original.external_req_id


def test_a_client_cannot_force_tokens():
    sent = request("r", extra_args={"mine": 1, FORCED_TOKENS_KEY: [-1]})
    drop_reserved(sent)
    assert sent.sampling_params.extra_args == {"mine": 1}


@pytest.mark.parametrize("sent", [request("r"), pooling_request("p")], ids=["plain", "pooling"])
def test_a_request_without_extra_arguments_stays_as_it_is(sent):
    before = encoded(sent)
    drop_reserved(sent)
    assert encoded(sent) == before


def test_a_described_request_names_its_parameters_and_nothing_of_its_text():
    sent = request("r", seed=3, stop=["secret"], bad_words=["hush"], max_tokens=40)
    text = described(sent)
    assert "3 prompt tokens" in text
    assert all(name in text for name in ("seed", "stop", "bad_words", "max_tokens"))
    assert not any(word in text for word in ("secret", "hush"))


def test_the_digest_tells_parameters_apart_and_repeats_for_the_same():
    one, again, other = (described(request(i, seed=s)) for i, s in (("a", 1), ("b", 1), ("c", 2)))
    assert one == again != other


def test_a_resent_request_differs_in_its_id_only():
    original = request("r", min_tokens=4, seed=1, temperature=1.0)
    attempt = attempt_request(original, "r#1", ResumeKind.RESEND, [])
    assert changed_fields(original, attempt) == {"request_id"}


def test_a_pooling_request_is_resent():
    attempt = attempt_request(pooling_request(), "r#1", ResumeKind.RESEND, [])
    assert as_engine_sees(attempt).pooling_params == PoolingParams(task="embed")


def test_a_replay_adds_the_forced_tokens_and_nothing_else():
    original = request("r", seed=1, temperature=1.0, extra_args={"mine": 1})
    attempt = attempt_request(original, "r#1", ResumeKind.REPLAY, EMITTED)
    assert changed_fields(original, attempt) == {"request_id", "sampling_params"}
    assert changed_sampling(original, attempt) == {"extra_args"}
    extra = as_engine_sees(attempt).sampling_params.extra_args
    assert extra == {"mine": 1, FORCED_TOKENS_KEY: EMITTED}


def test_a_prefill_resume_moves_tokens_from_the_budget_to_the_prompt():
    original = request("r", max_tokens=20, min_tokens=5, prompt_logprobs=2)
    original.prompt_is_token_ids = [True] * 3
    attempt = attempt_request(original, "r#1", ResumeKind.PREFILL, EMITTED)
    assert attempt.prompt_token_ids == [1, 2, 3, *EMITTED]
    params = attempt.sampling_params
    assert (params.max_tokens, params.min_tokens, params.prompt_logprobs) == (17, 2, None)
    assert changed_sampling(original, attempt) <= {"max_tokens", "min_tokens", "prompt_logprobs"}
    assert changed_fields(original, attempt) == {
        "request_id",
        "prompt_token_ids",
        "prompt_is_token_ids",
        "sampling_params",
    }


def test_an_answer_without_a_limit_stays_without():
    attempt = attempt_request(request("r", max_tokens=None), "r#1", ResumeKind.PREFILL, EMITTED)
    assert attempt.sampling_params.max_tokens is None


@st.composite
def progress(draw):
    """(max_tokens, min_tokens, tokens emitted) of a request that has not finished."""
    max_tokens = draw(st.integers(2, 5000))
    min_tokens = draw(st.integers(0, max_tokens))
    return max_tokens, min_tokens, draw(st.integers(1, min(max_tokens - 1, 300)))


@NOT_HURRIED
@given(progress())
def test_a_prefill_resume_keeps_the_sums(drawn):
    max_tokens, min_tokens, count = drawn
    emitted = list(range(count))
    original = request("r", max_tokens=max_tokens, min_tokens=min_tokens)
    attempt = as_engine_sees(attempt_request(original, "r#1", ResumeKind.PREFILL, emitted))
    params = attempt.sampling_params
    assert params.max_tokens >= 1
    assert count + params.max_tokens == max_tokens
    assert len(attempt.prompt_token_ids) + params.max_tokens == 3 + max_tokens
    assert count + params.min_tokens == max(min_tokens, count)
    assert params.min_tokens <= params.max_tokens


@NOT_HURRIED
@given(progress())
def test_a_replay_keeps_the_limits_and_carries_every_token(drawn):
    max_tokens, min_tokens, count = drawn
    emitted = list(range(count))
    original = request("r", max_tokens=max_tokens, min_tokens=min_tokens)
    params = as_engine_sees(
        attempt_request(original, "r#1", ResumeKind.REPLAY, emitted)
    ).sampling_params
    assert (params.max_tokens, params.min_tokens) == (max_tokens, min_tokens)
    assert params.extra_args[FORCED_TOKENS_KEY] == emitted


@NOT_HURRIED
@given(progress())
def test_a_router_sees_what_is_left_and_never_more_than_there_was(drawn):
    max_tokens, _, count = drawn
    original = request("r", max_tokens=max_tokens)
    emitted = list(range(7, 7 + count))
    whole, rest = (route_request(original, 2, so_far) for so_far in ([], emitted))
    assert whole.prompt_tokens == 3
    assert rest.prompt_tokens == 3 + count
    assert rest.max_output_tokens == min(max_tokens - count, UNBOUNDED_OUTPUT_TOKENS)
    assert rest.max_output_tokens <= whole.max_output_tokens <= UNBOUNDED_OUTPUT_TOKENS
    assert rest.blocks == block_hashes([1, 2, 3, *emitted], 2)
    assert whole.blocks == rest.blocks[:1]


@pytest.mark.parametrize(
    ("sent", "prompt", "output"),
    [
        pytest.param(request("r", max_tokens=7), 3, 7, id="a short answer costs its limit"),
        pytest.param(request("r", max_tokens=9000), 3, 512, id="a long limit says little"),
        pytest.param(request("r", max_tokens=None), 3, 0, id="no limit known"),
        pytest.param(pooling_request(), 3, 0, id="pooling emits nothing"),
        pytest.param(
            msgspec.structs.replace(
                request("r", max_tokens=7), prompt_token_ids=None, prompt_embeds=torch.zeros(5, 8)
            ),
            5,
            7,
            id="a prompt of embeddings",
        ),
    ],
)
def test_sizes(sent, prompt, output):
    size = route_request(sent, 16)
    assert expected_tokens(sent) == prompt + output
    assert (size.prompt_tokens, size.max_output_tokens) == (prompt, output)
    assert prompt_tokens(sent) == prompt


def test_a_session_and_blocks_are_what_a_router_goes_by():
    sent = msgspec.structs.replace(request("r"), session_id="ada")
    found = route_request(sent, 2)
    assert (found.affinity_key, found.blocks) == ("ada", block_hashes([1, 2, 3], 2))
    assert route_request(request("r"), 2).affinity_key is None
