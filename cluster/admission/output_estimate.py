"""How many tokens an answer will have, by how many a tenant's last ones had.

A client's max_tokens is a bound, and often far above what comes; fairness and room go by what is
expected, and are corrected at the end. Limits go by the bound, where there is one.
"""

from __future__ import annotations

FIRST_TOKENS = 256.0
"""Of an answer, before any was seen: about the mean of chats (Azure's conversation trace of 2023
has 211), and corrected by the first dozen."""

NEW_FRAC = 1 / 16
"""Weight of the last answer: the mean of a few dozen."""


class OutputEstimate:
    """For one model. What is known of no tenant yet is the mean over all."""

    def __init__(self) -> None:
        self._of_all = FIRST_TOKENS
        self._of_tenant: dict[str, float] = {}

    def tokens(self, tenant: str, max_output_tokens: int | None) -> int:
        """At least 1."""
        expected = max(1, round(self._of_tenant.get(tenant, self._of_all)))
        return expected if max_output_tokens is None else max(1, min(expected, max_output_tokens))

    @property
    def typical_tokens(self) -> float:
        """Over all tenants."""
        return self._of_all

    def saw(self, tenant: str, output_tokens: int) -> None:
        """An answer of the tenant's is complete."""
        before = self._of_tenant.get(tenant, self._of_all)
        self._of_tenant[tenant] = before + NEW_FRAC * (output_tokens - before)
        self._of_all += NEW_FRAC * (output_tokens - self._of_all)

    def keep_only(self, tenants: set[str]) -> None:
        """Forget the tenants that are no more."""
        self._of_tenant = {name: kept for name, kept in self._of_tenant.items() if name in tenants}
