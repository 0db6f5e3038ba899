"""Which key a request needs: none, a tenant's, or one that opens the operational routes too.

An allow-list of exact paths: what is not in it is operational, so a route that another vLLM adds is
closed to tenants until somebody has looked at it (`tests/serve_app/test_route_access.py` holds the
lists against vLLM's own routes). A path that vLLM would redirect, or a method that it would refuse,
is operational too: it is no more than an answer that a tenant does not get.
"""

from __future__ import annotations

import re
from enum import Enum

from starlette.types import Scope

from serve_app.fleet_page import PAGE_PATH
from serve_app.resumable import LAST_EVENT_ID_HEADER


class Need(Enum):
    """`NOTHING`: whoever asks. `KEY`: any tenant. `ADMIN`: a tenant with `admin: true`."""

    NOTHING = "nothing"
    KEY = "key"
    ADMIN = "admin"


READING = frozenset({"GET", "HEAD"})

PUBLIC_PATHS = frozenset({"/health", "/ready", "/version", "/ping", PAGE_PATH})
"""For probes, which have no key, and for a page that asks for one. They say nothing of tenants or
requests."""

MODELS_PATH = "/v1/models"
USAGE_PATH = "/usage"

INFERENCE_PATHS = frozenset(
    {
        "/v1/chat/completions", "/v1/chat/completions/batch", "/v1/chat/completions/render",
        "/v1/chat/completions/derender", "/v1/completions", "/v1/completions/render",
        "/v1/completions/derender", "/v1/responses", "/v1/responses/render",
        "/v1/messages", "/v1/messages/count_tokens", "/v1/messages/render",
        "/v1/systemone", "/generative_scoring", "/inference/v1/generate", "/invocations",
        "/cohere/v2/chat", "/cohere/v2/chat/render",
        "/v1/embeddings", "/v2/embed", "/pooling", "/classify", "/score", "/v1/score",
        "/rerank", "/v1/rerank", "/v2/rerank", "/tokenize", "/detokenize",
        "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/realtime",
    }
)  # fmt: skip
"""What a model does for its users."""

STORED_RESPONSE = re.compile(r"/v1/responses/[^/]+(/cancel)?")
"""By its id, which is a secret as a resumable stream's."""


def need_of(scope: Scope) -> Need:
    """The key that an HTTP request or a websocket needs where tenants are configured."""
    need = _need_of_route(scope)
    # Whatever its path, it may be answered with a stream's events: never for nothing.
    return Need.KEY if need is Need.NOTHING and _resumes(scope) else need


def _need_of_route(scope: Scope) -> Need:
    path, method = scope["path"], scope.get("method")
    if path in INFERENCE_PATHS and method != "OPTIONS":
        return Need.KEY
    if method in READING:
        return _need_of_reading(path)
    if method == "OPTIONS" and _is_preflight(scope):
        return Need.NOTHING
    return Need.KEY if STORED_RESPONSE.fullmatch(path) else Need.ADMIN


def _need_of_reading(path: str) -> Need:
    if path in PUBLIC_PATHS:
        return Need.NOTHING
    is_tenants = path in (MODELS_PATH, USAGE_PATH) or path.startswith(f"{MODELS_PATH}/")
    return Need.KEY if is_tenants or STORED_RESPONSE.fullmatch(path) else Need.ADMIN


def _resumes(scope: Scope) -> bool:
    return any(name == LAST_EVENT_ID_HEADER for name, _ in scope["headers"])


def _is_preflight(scope: Scope) -> bool:
    """A browser's question whether it may ask, which has no key; vLLM's CORS answers it, and what
    it answers is `api.allowed_origins`: nobody, by default."""
    names = {name for name, _ in scope["headers"]}
    return {b"origin", b"access-control-request-method"} <= names
