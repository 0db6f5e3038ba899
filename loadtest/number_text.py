"""Numbers as people read them: latencies in ms, shares in percent."""

from collections.abc import Mapping

from loadtest.summary_schema import Share

NONE = "-"


def ms(seconds: float | None) -> str:
    """Milliseconds, with three significant digits at least."""
    if seconds is None:
        return NONE
    value = seconds * 1e3
    return f"{value:,.{_decimals(value)}f} ms"


def number(value: float | None, digits: int = 0) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def per_s(value: float | None, what: str) -> str:
    """A rate of `what`, with three significant digits at least."""
    return NONE if value is None else f"{value:,.{_decimals(value)}f} {what}/s"


def _decimals(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2


def percent(frac: float | None) -> str:
    """Two decimals, and never all or nothing for what is only nearly so."""
    if frac is None:
        return NONE
    shown = f"{100 * frac:.2f}"
    if shown == "100.00" and frac < 1:
        return "> 99.99 %"
    return "< 0.01 %" if shown == "0.00" and frac > 0 else f"{shown} %"


def share(found: Share | None) -> str:
    """`98.10 % (95.00 % to 99.30 %, n = 420)`."""
    if found is None or found.frac is None:
        return NONE
    return f"{percent(found.frac)} ({percent(found.low)} to {percent(found.high)}, n = {found.n:,})"


def faults(found: Mapping[str, int]) -> str:
    """`5 faults: 3 kill-host, 2 pause-core`."""
    total = sum(found.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.items())
    return f"{total:,} fault{'' if total == 1 else 's'}: {kinds}"
