"""A stand-in for the application, in what the launcher sees of it: a builder that takes `spec` and
`port`, starts Serve on that port, and answers `/ready`. It starts in seconds, without vLLM.
"""

import subprocess
import sys
import time

from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cluster.spec import load
from serve_app.ingress import start_http

NOT_READY_S = 1.0


@serve.deployment
class Standin:
    def __init__(self, broken: bool) -> None:
        if broken:
            raise RuntimeError("no such model: the message that the user must see")
        self.started_at_s = time.monotonic()
        # As an engine does: a process that is no Ray worker and survives its parent.
        command = [sys.executable, "-c", "import time; time.sleep(3600)"]
        self.detached = subprocess.Popen(command, start_new_session=True)

    async def __call__(self, request: Request) -> Response:
        if request.url.path != "/ready":
            return JSONResponse({"pid": self.detached.pid})
        if time.monotonic() < self.started_at_s + NOT_READY_S:
            return JSONResponse({"demo": "0 of 1"}, status_code=503)
        return JSONResponse({"demo": "1 of 1"})


def build(args: dict[str, str]) -> Application:
    spec = load(args["spec"])
    ports = spec.ports.model_copy(update={"http": int(args["port"])})
    start_http(spec.model_copy(update={"ports": ports}), checked=lambda: None)
    return Standin.bind(broken=False)


def build_broken(args: dict[str, str]) -> Application:
    build(args)
    return Standin.bind(broken=True)
