"""The limit of open files at a gateway's start."""

from __future__ import annotations

import resource

import pytest

from serve_app import open_files

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to", "warned"),
    [
        pytest.param(1024, 100_000, 3024, False, id="raised to what is needed"),
        pytest.param(1024, UNLIMITED, 3024, False, id="raised where nothing bounds it"),
        pytest.param(4096, 4096, None, False, id="enough as it is"),
        pytest.param(UNLIMITED, UNLIMITED, None, False, id="no limit"),
        pytest.param(1024, 2000, 2000, True, id="as far as it may be, with a warning"),
    ],
)
def test_the_limit_is_raised_or_the_operator_told(
    monkeypatch, caplog, soft, hard, raised_to, warned
):
    set_to = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    open_files.make_room(2000, "gateway.max_ongoing_requests")
    assert set_to == ([] if raised_to is None else [(raised_to, hard)])
    assert ("gateway.max_ongoing_requests=2000 connections need 3024" in caplog.text) is warned
