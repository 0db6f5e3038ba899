"""Errors of the Gateway's own making, in the shape of vLLM's (which is OpenAI's).

GatewayError
├── KeyNeededError         401  the caller's fault
├── AdminNeededError       403  the caller's fault
├── UnknownModelError      404  the caller's fault
├── ModelNeededError       400  the caller's fault
├── BodyTooLargeError      413  the caller's fault
├── BadEventIdError        400  the caller's fault
├── NotExplainedError      400  the caller's fault
├── StreamGoneError        410  a lost stream that is kept no more
├── NoEngineError          503  ours; says when to try again
└── ModelFailedError       500  ours; the model's API server could not be built
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

RETRY_AFTER_S = 5
"""What a 503 advises, at least: about the time Serve takes to notice and start replacing an engine.
"""


class GatewayError(Exception):
    """`status` and `error_type` are what the client sees."""

    status = 500
    error_type = "InternalServerError"
    param: str | None = None
    code: str | None = None
    """A word for programs, where OpenAI has one; else the status."""
    retry_after_s: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    """Of the response, beside those of every error."""

    def body(self) -> dict[str, Any]:
        """The JSON body of the response."""
        return {
            "error": {
                "message": str(self),
                "type": self.error_type,
                "param": self.param,
                "code": self.code or self.status,
            }
        }


class KeyNeededError(GatewayError):
    """No key, or none that is known; which of them is not said, and the key is not quoted."""

    status, error_type, code = 401, "invalid_request_error", "invalid_api_key"
    headers = MappingProxyType({"www-authenticate": "Bearer"})

    def __str__(self) -> str:
        return "A valid API key is needed: send it as Authorization: Bearer KEY."


class AdminNeededError(GatewayError):
    """A tenant's key at an operational route."""

    status, error_type, code = 403, "invalid_request_error", "admin_key_needed"

    def __init__(self, path: str, tenant: str) -> None:
        super().__init__(path, tenant)

    def __str__(self) -> str:
        path, tenant = self.args
        return f"{path} is an operational route, and the key of tenant {tenant!r} is no admin's."


class UnknownModelError(GatewayError):
    """No model, and no LoRA adapter, of that name is served here."""

    status, error_type, param = 404, "NotFoundError", "model"


class ModelNeededError(GatewayError):
    """Several models are served, and the request names none."""

    status, error_type, param = 400, "BadRequestError", "model"


class BodyTooLargeError(GatewayError):
    """The request body is over `gateway.max_body_mb`."""

    status, error_type = 413, "RequestEntityTooLarge"


class BadEventIdError(GatewayError):
    """`Last-Event-ID` is no id that a gateway gives."""

    status, error_type, param = 400, "BadRequestError", "Last-Event-ID"


class NotExplainedError(GatewayError):
    """`POST /fleet/explain` was asked about a route that gives an engine nothing to do."""

    status, error_type, param = 400, "BadRequestError", "path"


class StreamGoneError(GatewayError):
    """The stream that a client wants to resume is not kept, or not from that event on."""

    status, error_type, param = 410, "GoneError", "Last-Event-ID"


class ModelFailedError(GatewayError):
    """vLLM refused the model's API-server arguments, or its tokenizer could not be loaded."""


class NoEngineError(GatewayError):
    """No engine of the model became ready within `failover.hold_timeout_s`."""

    status, error_type = 503, "ServiceUnavailableError"

    def __init__(self, message: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])
