"""Ray Serve LLM with its OpenAI app, on a Ray of its own, until SIGTERM.

    .venv-peers/bin/python -P loadtest/bench/peers/ray_llm_app.py \
      '{"port": …, "cpus": …, "llm": …, "ready": "FILE"}'

Runs in the peers' virtual environment, where this repository is not installed: it imports nothing
of it.
`llm` is what Ray's `LLMConfig` takes; `ready` is a file that appears when all replicas are up,
which no path of the server tells. Which way requests go (Serve's own proxy, or HAProxy
and direct streaming) Ray reads from the environment.
"""

import json
import signal
import sys
from pathlib import Path

import ray
from ray import serve
from ray.serve.llm import LLMConfig, build_openai_app


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = json.loads(sys.argv[1])
    ray.init(address="local", num_cpus=options["cpus"], namespace="serve", include_dashboard=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": options["port"]})
        serve.run(build_openai_app({"llm_configs": [LLMConfig(**options["llm"])]}))
        Path(options["ready"]).touch()
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
