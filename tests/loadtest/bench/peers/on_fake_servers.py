"""The peers benchmark with a fake server in every side's place, as a command of its own: it ends
whatever its process has started, which must not be pytest's.

With `--serve PORT` it is such a server, titled like an engine, so that it is what gets killed.
"""

import asyncio
import sys

from setproctitle import setproctitle

from loadtest.bench.peers import __main__ as command
from loadtest.bench.peers import sides
from loadtest.bench.peers.descendants import ENGINE_CORE
from loadtest.bench.servers import HOST, Launch, free_port
from loadtest.client import Endpoint
from tests.loadtest.bench.test_overhead import model
from tests.loadtest.fake_server import FakeServer

MODULE = "tests.loadtest.bench.peers.on_fake_servers"
SERVE = "--serve"


async def serve(port: int) -> None:
    setproctitle(ENGINE_CORE)
    server = await asyncio.start_server(FakeServer(model).handle, HOST, port)
    await server.serve_forever()


def launch(side: str, _: sides.Site) -> Launch:
    port = free_port()
    arguments = [sys.executable, "-m", MODULE, SERVE, str(port)]
    return Launch(side, arguments, Endpoint(HOST, port), "/v1/models")


if __name__ == "__main__":
    if sys.argv[1] == SERVE:
        asyncio.run(serve(int(sys.argv[2])))
    sides.launch = launch
    # What `tokenfleet check` would make of the default spec, without importing vLLM for it.
    command.resolved_spec = lambda _: {"models": [{"name": "demo"}]}
    sys.exit(command.main(sys.argv[1:]))
