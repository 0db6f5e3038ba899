"""The name under which a client's session is routed and logged, instead of what the client said.

A pseudonym, not a secret: whoever guesses a key can hash the guess and compare.
"""

from __future__ import annotations

import re

from xxhash import xxh3_64_hexdigest

HASHED = re.compile(r"#[0-9a-f]{16}")


def hashed(affinity_key: str) -> str:
    """`#` and 16 hex digits; what has that form already stays as it is, so that a logged request
    is routed like the one it was logged from."""
    if HASHED.fullmatch(affinity_key):
        return affinity_key
    return f"#{xxh3_64_hexdigest(affinity_key.encode())}"
