"""HAProxy as Serve is told to start it."""

import os
import subprocess
import sys

import pytest

from serve_app import haproxy
from serve_app.settings import HAPROXY_BINARY_ENV


def test_it_is_the_haproxy_that_comes_with_ray() -> None:
    told = os.environ | {HAPROXY_BINARY_ENV: str(haproxy.SCRIPT)}
    ran = subprocess.run([haproxy.SCRIPT, "-v"], env=told, stdout=subprocess.PIPE, check=True)
    assert ran.stdout.startswith(b"HAProxy version 2.8")


def test_it_does_not_splice(monkeypatch: pytest.MonkeyPatch) -> None:
    became = []
    monkeypatch.setattr(os, "execv", lambda *args: became.append(args))
    monkeypatch.setattr(haproxy, "get_haproxy_binary", lambda: "/bin/haproxy")
    monkeypatch.setattr(sys, "argv", ["tokenfleet-haproxy", "-db", "-f", "x"])
    haproxy.main()
    assert became == [("/bin/haproxy", ["/bin/haproxy", "-dS", "-db", "-f", "x"])]
