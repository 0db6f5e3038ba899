"""`GET /fleet/ui`: the fleet as it is now, on one page that reads `GET /fleet` every second.

The page holds no data, so it needs no key; where tenants are configured it asks its reader for one.
It loads nothing from anywhere, and its browser is told to run nothing but what is in it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.responses import HTMLResponse, Response

PAGE_PATH = "/fleet/ui"
PAGE = Path(__file__).with_name("fleet_page.html")


@cache
def _page() -> tuple[str, dict[str, str]]:
    """Its text, and the headers that keep it to itself."""
    text = PAGE.read_text(encoding="utf-8")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(text, 'script')}",
            f"style-src {_digest(text, 'style')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return text, {"content-security-policy": policy, "cache-control": "no-cache"}


def page_response() -> Response:
    text, headers = _page()
    return HTMLResponse(text, headers=headers)


def _digest(text: str, tag: str) -> str:
    """Of the page's one element of that name, as a content security policy names it."""
    (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"
