"""Where Ray Serve's ingress really listens, whoever started it.

Serve takes its address when it starts: from `serve run` the spec's, from a config file that file's,
which is 0.0.0.0 unless it says otherwise. Ray has no public way to ask; this is the one module that
uses its client, and `tests/serve_app/test_serve_address.py` pins the shape of what is used, written
against Ray 2.60.0.
"""

from __future__ import annotations

from ray.serve import context

ANY_ADDRESS = "0.0.0.0"


def http_host() -> str:
    """The address that the ingress binds. Asks the controller, so it may block."""
    return context._get_global_client().http_config.host or ANY_ADDRESS
