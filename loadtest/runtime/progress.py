"""The headless run's line every few seconds, and its last words. Pure."""

from loadtest.runtime.live import Histogram, Tally

EVERY_S = 5.0


def line(at_s: float, whole: Tally, recent: Tally, recent_s: float) -> str:
    """`whole` since the load began; `recent` since the line before, `recent_s` ago."""
    return (
        f"{at_s:6.0f} s  offered {whole.offered} ({recent.offered / recent_s:.1f}/s)"
        f"  in flight {whole.in_flight}  done {whole.done}"
        f"  errors {whole.failed}  missed {whole.missed}"
        f"  TTFT p50 {_ms(recent.ttft, 50)} p99 {_ms(recent.ttft, 99)} ms"
        f"  {recent.output_tokens / recent_s:.0f} tokens/s"
    )


def _ms(histogram: Histogram, percent: float) -> str:
    value_ms = histogram.percentile_ms(percent)
    return "-" if value_ms is None else f"{value_ms:g}"
