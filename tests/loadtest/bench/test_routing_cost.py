"""The benchmark of routing decisions, on an index small enough for a test."""

from __future__ import annotations

import random
import sys

import pytest

from cluster.routing.block_hash import block_hashes
from cluster.routing.fleet_view import FleetView
from cluster.types import ReplicaId, RouteRequest
from loadtest.bench import routing
from loadtest.bench.routing import BLOCK_TOKENS, LEAST_PROMPT_TOKENS, Prompts, fill

PROMPTS = Prompts(LEAST_PROMPT_TOKENS, seed=0)
REPLICAS = [ReplicaId(f"engine-{number}") for number in range(6)]


def test_its_prompts_find_what_the_index_was_filled_with():
    view = FleetView()
    conversations = fill(view, PROMPTS, REPLICAS, blocks=2000)
    assert 2000 <= len(view.index) < 2000 + LEAST_PROMPT_TOKENS // BLOCK_TOKENS
    rng = random.Random(0)
    cached = []
    for _ in range(30):
        tokens = PROMPTS.asked(rng, conversations)
        assert len(tokens) == LEAST_PROMPT_TOKENS
        request = RouteRequest(
            prompt_tokens=len(tokens),
            max_output_tokens=1,
            blocks=block_hashes(tokens, BLOCK_TOKENS),
        )
        cached += [snapshot.cached_tokens for snapshot in view.snapshots(request, REPLICAS)]
    assert set(cached) == {256, 256 + 6000}  # the system prompt, and a group's prefix


def test_its_report_has_every_step_for_every_number_of_engines(capsys, monkeypatch):
    options = "--engines 2,3 --blocks 2000 --decisions 5 --prompt-tokens 6512"
    monkeypatch.setattr(sys, "argv", ["routing", *options.split()])
    routing.main()
    printed = capsys.readouterr().out
    for engines in (2, 3):
        assert f"| {engines} | 2," in printed
        for step in routing.STEPS:
            assert f"| {engines} | {step} |" in printed
    assert printed.count("| 5 |") == 2 * len(routing.STEPS)


def test_a_prompt_too_short_to_share_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["routing", "--prompt-tokens", "100"])
    with pytest.raises(SystemExit):
        routing.main()
    assert "--prompt-tokens 100 is below 6512" in capsys.readouterr().err
