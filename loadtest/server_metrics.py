"""The server's own metrics while it is loaded: `/metrics`, and Tokenfleet's `/fleet` where it is.

Kept are vLLM's and Tokenfleet's samples without their histograms' buckets, by name with labels as
Prometheus' text format writes them. `/fleet` becomes samples of the same form. A server that has
neither, or does not show them for the key in `headers`, has nothing here, and is asked only once.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import requests

TIMEOUT_S = 5.0
KEPT = ("vllm:", "tokenfleet")
LEFT_OUT = ("_bucket", "_created")
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?P<labels>\{.*\})?\s+(?P<value>\S+)(\s+-?\d+)?")

Samples = dict[str, float]


class Scraper:
    """`useful` until the first look finds that the server has no metrics. A look that fails later,
    while the server is busy or gone, gives no samples. Any thread may look, as those of gevent's
    pool do in turn: a look keeps no connection, since gevent's sockets belong to a thread."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._has: dict[str, bool] = {}

    @property
    def useful(self) -> bool:
        return not self._has or any(self._has.values())

    def scrape(self) -> Samples:
        with requests.Session() as session:
            session.trust_env = False
            metrics, fleet = self._get(session, "/metrics"), self._get(session, "/fleet")
        samples = {} if metrics is None else parsed(metrics.text)
        return samples | ({} if fleet is None else fleet_samples(_json(fleet)))

    def _get(self, session: requests.Session, path: str) -> requests.Response | None:
        if self._has.get(path, True):
            try:
                url = self.base_url + path
                response = session.get(url, headers=self._headers, timeout=TIMEOUT_S)
            except requests.RequestException:
                return None
            self._has.setdefault(path, response.status_code == 200)
            return response if response.status_code == 200 else None
        return None


def parsed(text: str) -> Samples:
    """The kept samples of Prometheus' text format; lines that are not samples are skipped."""
    return dict(_samples(text))


def _samples(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line.strip()) if line.startswith(KEPT) else None
        if found is not None and not found["name"].endswith(LEFT_OUT):
            yield found["name"] + (found["labels"] or ""), float(found["value"])


def fleet_samples(body: Any) -> Samples:
    """Of each model in a `/fleet` body: engines by state, what each has running and waiting, and
    requests by what became of them."""
    models = body.get("models") if isinstance(body, Mapping) else None
    samples: Samples = {}
    for model in models or ():
        name = model.get("name")
        states = Counter(engine.get("state") for engine in model.get("engines") or ())
        for state, count in states.items():
            samples[f'tokenfleet:engines{{model_name="{name}",state="{state}"}}'] = count
        for engine in model.get("engines") or ():
            for what in ("running", "waiting"):
                key = f'tokenfleet:engine_{what}{{model_name="{name}",engine="{engine.get("id")}"}}'
                samples[key] = engine.get(what, 0)
        for what, count in (model.get("flights") or {}).items():
            if isinstance(count, int | float):
                samples[f'tokenfleet:flights_{what}{{model_name="{name}"}}'] = count
    return samples


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
