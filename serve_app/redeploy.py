"""Deploys one spec after the other to a Serve that runs on this machine.

    python -m serve_app.redeploy

It reads the path of a spec from each line of standard input and answers each with a line, once
Serve has taken it: `deployed`, or `refused: ` and why. Serve then does what the change asks for:
fewer engines are drained, more are started, changed ones are replaced one after the other. It ends
with its input. Its environment must be that of the cluster's own processes.
"""

import sys
from pathlib import Path

import ray
from ray import serve

from cluster.spec import SpecError, load, resolve_devices
from serve_app import app, settings
from serve_app.ingress import SERVE_NAMESPACE


def main() -> int:
    ray.init(address="auto", namespace=SERVE_NAMESPACE, log_to_driver=False)
    for line in sys.stdin:
        print(_answer(Path(line.strip())), flush=True)
    return 0


def _answer(path: Path) -> str:
    try:
        spec = resolve_devices(load(path), gpu_build=settings.gpu_build())
    except SpecError as error:
        return f"refused: {' '.join(str(error).split())}"
    target = serve.RunTarget(app.application(spec))
    serve.run_many([target], wait_for_applications_running=False)
    return "deployed"


if __name__ == "__main__":
    sys.exit(main())
