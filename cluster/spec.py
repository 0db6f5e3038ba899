"""The spec: one YAML file that says which models a cluster serves and how.

    models:
      - name: demo          # what clients send as `model`
        source: demo        # `demo`, a hub id, or a path
        replicas: 2
        engine: {max_model_len: 2048}             # any vLLM EngineArgs field, verbatim
        api: {enable_auto_tool_choice: true}      # any vLLM API-server argument, verbatim

`load` and `parse` reject unknown keys and report every violation at once, each under its key path
(`models[0].replicas: 0 is below the minimum 1`). What the values of `engine:` and `api:` may be is
vLLM's to say, so `serve_app/engine_args.py` checks those against vLLM itself; this module only
refuses the keys that Tokenfleet sets (`cluster/reserved.py`).

The descriptions of the fields give unit, default and reason; no default should need tuning.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cluster import presets
from cluster.admission.keyless import NO_VLLM_KEY, OPEN_BY_ACCIDENT, VLLM_KEY_ENV, is_loopback
from cluster.admission.tenants import Tenant, repeated, repeated_in, unknown_models
from cluster.admission_spec import DEFAULT_MAX_WAIT_S, AdmissionSpec, MaxWait
from cluster.demo_defaults import (
    DEMO_SOURCE,
    KV_CACHE_ENV,
    KV_CACHE_FIELD,
    with_demo_defaults,
    with_kv_cache,
)
from cluster.reserved import reserved_api, reserved_engine
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.spec_errors import SpecError, Violation, key_path, raise_all, violations_of
from cluster.spec_model import SpecModel as _Spec

__all__ = [
    "ClusterSpec",
    "FailoverSpec",
    "GatewaySpec",
    "ModelSpec",
    "PortsSpec",
    "ResourceSpec",
    "RoutingSpec",
    "ScalingSpec",
    "SloSpec",
    "SpecError",
    "dump",
    "load",
    "parse",
    "resolve_devices",
]

SERVED_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _number_to_text(value: Any) -> Any:
    """YAML reads `THREADS: 1` as a number, the environment holds text. Bools are left to fail."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


EnvName = Annotated[str, Field(pattern=ENV_NAME)]
EnvValue = Annotated[str, BeforeValidator(_number_to_text)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ResourceSpec(_Spec):
    """What one engine replica of a model occupies on its node."""

    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto",
        description="Where engines run. auto: on GPUs when the installed vLLM is the CUDA build, "
        "else on CPUs; one spec then works on a laptop and on a GPU node.",
    )
    cpus: float = Field(
        default=1.0,
        ge=0,
        description="CPU cores reserved per engine replica. Default 1: vLLM's engine core keeps "
        "about one core busy whatever the GPUs do; raise it for CPU engines of real models.",
    )
    accelerator_type: str | None = Field(
        default=None,
        min_length=1,
        description="Ray accelerator type a node must have, such as H100. Default none: any GPU.",
    )


class RoutingSpec(_Spec):
    """Which engine of a model takes a request."""

    policy: Literal[
        "predicted_cost",
        "least_load",
        "round_robin",
        "random",
        "power_of_two",
        "session_affinity",
        "prefix_affinity",
    ] = Field(
        default="predicted_cost",
        description="How an engine is chosen. Default predicted_cost: the least added latency, by "
        "what each engine holds of the prompt and has to do. least_load: the fewest tokens of this "
        "gateway; power_of_two: that, of two at random; session_affinity: one engine for a session "
        "(vLLM's session_id or X-Session-ID, else `user`); prefix_affinity: where the prompt's "
        "start went before; round_robin, random.",
    )
    decision_log: str | None = Field(
        default=None,
        min_length=1,
        description="File to which gateways add a sample of the decisions as JSON lines, each with "
        "all that decided it, to be replayed (`cluster/routing/decision_log.py`). It names blocks "
        "and sessions by hashes and holds no text. Default none: no log.",
    )
    decision_log_frac: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of the decisions that are logged, 0 to 1. Default 0.01: at 100 "
        "requests/s, 8 engines and prompts of 1,000 tokens, one decision of 5 kB a second.",
    )


class SloSpec(_Spec):
    """What counts as in time for a model. Engines are scaled so that it is."""

    ttft_s: float = Field(
        default=2.0,
        gt=0,
        description="Seconds until the first token. Default 2: MLPerf Inference's limit for its "
        "server scenario of Llama 3.1 8B.",
    )
    tpot_s: float = Field(
        default=0.1,
        gt=0,
        description="Seconds for each further token, on average over a request. Default 0.1, from "
        "the same: faster than people read.",
    )
    attainment_frac: float = Field(
        default=0.99,
        ge=0.5,
        lt=1,
        description="Share of the requests that meet both, 0.5 to below 1. Default 0.99, from the "
        "same. Each nine more takes engines that are hardly ever needed.",
    )

    @property
    def slo(self) -> Slo:
        """As the scaler takes it."""
        return Slo(ttft_s=self.ttft_s, tpot_s=self.tpot_s, attainment_frac=self.attainment_frac)


class ScalingSpec(_Spec):
    """Between how many engines a model has, by its load. Nothing of it needs tuning: rates, bursts
    and the time that an engine takes to start are measured."""

    min: int = Field(
        default=1,
        ge=0,
        description="Fewest engines. Default 1. With 0 the last one goes after `idle_s` without a "
        "request, and the next request is held until one has started.",
    )
    max: int = Field(
        ge=1,
        description="Most engines. Required: it bounds what a burst may cost.",
    )
    idle_s: float = Field(
        default=300.0,
        ge=0,
        description="Seconds without a request after which the last engine goes, where `min` is 0. "
        "Default 300: several starts' time, so that a pause in a conversation costs none.",
    )
    headroom_frac: float = Field(
        default=0.0,
        ge=0,
        description="So much more than the computed number of engines, as a share of it. Default "
        "0: what bursts and starts need is measured and in it already.",
    )
    standby: int = Field(
        default=0,
        ge=0,
        description="Engines that are up beside those that the load needs, up to `max`: what a "
        "lost engine ran, or a sudden load, then waits for no start. Default 0: each costs an "
        "engine. Where `min` is 0 an idle model has none of these either.",
    )

    @property
    def limits(self) -> ScalingLimits:
        """As the scaler takes them."""
        return ScalingLimits(
            least=self.min,
            most=self.max,
            idle_s=self.idle_s,
            headroom_frac=self.headroom_frac,
            standby=self.standby,
        )

    @field_validator("max")
    @classmethod
    def _above_min(cls, value: int, info: ValidationInfo) -> int:
        return _not_below_min(value, info)


def _not_below_min(value: int, info: ValidationInfo) -> int:
    least = info.data.get("min")
    if least is not None and value < least:
        raise ValueError(f"{value} is below min ({least})")
    return value


class ModelSpec(_Spec):
    """One served model: where it comes from, how vLLM runs it, and how many engines it has."""

    name: str = Field(
        pattern=SERVED_NAME,
        max_length=128,
        description="Name clients send as `model`. It appears in URLs, so only letters, digits, "
        "`.`, `_`, `-`, and `/` between parts (hub ids are fine). Required; unique.",
    )
    source: str = Field(
        min_length=1,
        description="`demo` (the embedded model), a hub id, or a path (`~` and `$VAR` are expanded "
        "on each node; `./` and `../` are relative to the spec file). Required.",
    )
    engine: dict[str, Any] = Field(
        default={},
        description="vLLM EngineArgs fields, passed through verbatim. Default none: vLLM's own.",
    )
    preset: presets.Preset | None = Field(
        default=None,
        description="`latency`, `throughput` or `memory`: engine fields for that, other ones on "
        "GPUs than on CPUs, as `tokenfleet check` prints them; those of `engine` win. Default "
        "none: vLLM's own.",
    )
    api: dict[str, Any] = Field(
        default={},
        description="vLLM API-server arguments (tool parsers, chat template …), passed through "
        "verbatim. Default none: vLLM's own.",
    )
    replicas: int = Field(
        default=1,
        ge=1,
        description="Engines of this model, each with its own copy of the weights. Default 1. With "
        "`scaling` it is how many there are at first, within its bounds.",
    )
    scaling: ScalingSpec | None = Field(
        default=None,
        description="How the number of engines follows the load. Default none: always `replicas`.",
    )
    slo: SloSpec = Field(
        default=SloSpec(), description="What counts as in time; `scaling` keeps to it."
    )
    resources: ResourceSpec = Field(
        default=ResourceSpec(), description="What one engine replica occupies."
    )
    routing: RoutingSpec = Field(
        default=RoutingSpec(), description="Which engine of this model takes a request."
    )
    max_wait_s: MaxWait = DEFAULT_MAX_WAIT_S
    env: dict[EnvName, EnvValue] = Field(
        default={},
        description="Environment variables of this model's engine processes. Default none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _demo(cls, value: Any) -> Any:
        return with_demo_defaults(value)

    @field_validator("engine")
    @classmethod
    def _engine(cls, value: dict[str, Any]) -> dict[str, Any]:
        raise_all("engine", reserved_engine(value))
        return value

    @field_validator("api")
    @classmethod
    def _api(cls, value: dict[str, Any]) -> dict[str, Any]:
        raise_all("api", reserved_api(value))
        return value

    @field_validator("env")
    @classmethod
    def _env(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        given = info.data.get("engine", {}).get(KV_CACHE_FIELD)
        if given is not None and value.get(KV_CACHE_ENV):
            raise ValueError(
                f"{KV_CACHE_ENV} ({value[KV_CACHE_ENV]} GiB) is what vLLM goes by on a CPU, and "
                f"engine.{KV_CACHE_FIELD} is {given}: give one of them"
            )
        return value

    @property
    def first_replicas(self) -> int:
        """Engines at the start: `replicas`, within the bounds of `scaling`."""
        if self.scaling is None:
            return self.replicas
        return max(self.scaling.min, min(self.scaling.max, self.replicas))

    @property
    def workers_per_replica(self) -> int:
        """Worker processes of one engine (vLLM's world size); on GPUs each takes one."""
        sizes = (
            self.engine.get("tensor_parallel_size", 1),
            self.engine.get("pipeline_parallel_size", 1),
            self.engine.get("prefill_context_parallel_size", 1),
        )
        return int(sizes[0]) * int(sizes[1]) * int(sizes[2])

    @property
    def gpus_per_replica(self) -> int:
        """GPUs one engine occupies; 0 on CPUs.

        Raises ValueError while the device is `auto`: only `resolve_devices` knows the installation,
        and guessing would ask a GPU-less cluster for GPUs, and wait for ever.
        """
        if self.resources.device == "auto":
            raise ValueError(f"model {self.name}: device is auto; call resolve_devices first")
        return self.workers_per_replica if self.resources.device == "gpu" else 0

    def on_device(self, gpu_build: bool) -> Self:
        """This model with `auto` made explicit: gpu when vLLM's CUDA build is installed; and with
        what its preset stands for there."""
        device = self.resources.device
        if device == "auto":
            device = "gpu" if gpu_build else "cpu"
        resources = self.resources.model_copy(update={"device": device})
        engine = presets.under(self.engine, self.preset, device)
        if self.source == DEMO_SOURCE and device == "cpu":
            engine = with_kv_cache(engine, self.env)
        return self.model_copy(update={"resources": resources, "engine": engine})


class GatewayScalingSpec(_Spec):
    """Between how many gateways there are, by their streams and how late their event loops are."""

    min: int = Field(default=1, ge=1, description="Fewest gateways. Default 1.")
    max: int = Field(ge=1, description="Most gateways. Required: it bounds what a burst may cost.")

    @property
    def limits(self) -> ScalingLimits:
        """As the scaler takes them."""
        return ScalingLimits(least=self.min, most=self.max)

    @field_validator("max")
    @classmethod
    def _above_min(cls, value: int, info: ValidationInfo) -> int:
        return _not_below_min(value, info)


class GatewaySpec(_Spec):
    """The API servers: HTTP, templates, tokenizers, detokenizing. They need no GPU."""

    replicas: int = Field(
        default=1,
        ge=1,
        description="Gateway replicas, each serving every model. Default 1: one process carries "
        "about 10,000 tokens/s (90 us of CPU per token). Not read with `scaling`.",
    )
    scaling: GatewayScalingSpec | None = Field(
        default=None,
        description="How the number of gateways follows the load. Default none: always `replicas`.",
    )
    cpus: float = Field(
        default=1.0,
        ge=0,
        description="CPU cores reserved per gateway replica. Default 1: it is one event loop.",
    )
    max_body_mb: float = Field(
        default=32.0,
        gt=0,
        description="Largest request body in MB (10^6 bytes); more is refused with 413. Default "
        "32: room for several images inlined as base64, and a bound on memory per request.",
    )
    max_ongoing_requests: int = Field(
        default=8192,
        ge=1,
        description="Requests in flight per gateway replica, streams included; more wait at the "
        "ingress. Default 8192: above what one event loop can stream, so it never binds first.",
    )
    max_flights: int = Field(
        default=32768,
        ge=1,
        description="Requests in flight at engines, per gateway replica and model, each of the `n` "
        "answers to a request counted; more get 503. Default 32768: four answers to each of the "
        "requests above, and a bound on what one client can ask for by `n`.",
    )
    resume_window_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds that a resumable stream is kept, and goes on being generated, after "
        "its client was lost, and kept after its end. Default 60: a phone that changes networks is "
        "back by then, and an engine works no longer than that for a client that is not.",
    )
    resume_buffer_mb: float = Field(
        default=256.0,
        gt=0,
        description="Memory in MB (10^6 bytes) for the events of resumable streams, per gateway "
        "replica; beyond it the oldest are dropped. Default 256: a chunk takes about 350 bytes, so "
        "what one replica carries, 10,000 tokens/s, fills 210 MB in the default window.",
    )
    env: dict[EnvName, EnvValue] = Field(
        default={}, description="Environment variables of the gateway processes. Default none."
    )
    admission: AdmissionSpec = Field(
        default=AdmissionSpec(), description="What is taken in when the fleet is full."
    )
    open: bool = Field(
        default=False,
        description="Whether everyone who reaches the endpoint may use it, its operational routes "
        "too. Default false: without tenants it is then bound to an address of this machine only.",
    )
    usage_ledger: str | None = Field(
        default=None,
        min_length=1,
        description="Folder for what each request used, one line each (cluster/admission/ledger.py "
        "has the fields); every gateway replica writes a file of its own. Default none.",
    )
    usage_ledger_mb: float = Field(
        default=100.0,
        gt=0,
        description="Size in MB (10^6 bytes) at which a gateway's ledger goes on in another file. "
        "Default 100: about 350,000 requests.",
    )
    usage_ledger_files: int = Field(
        default=100,
        ge=1,
        description="Full files that are kept per gateway replica; beyond them the oldest is "
        "removed. Default 100: 10 GB, a bound on what the ledger may take.",
    )

    @property
    def most_replicas(self) -> int:
        """As many gateways as there may be at a time."""
        return self.replicas if self.scaling is None else self.scaling.max

    @field_validator("env")
    @classmethod
    def _no_vllm_key(cls, value: dict[str, str]) -> dict[str, str]:
        raise_all("env", [Violation((VLLM_KEY_ENV,), NO_VLLM_KEY)] if VLLM_KEY_ENV in value else [])
        return value


class FailoverSpec(_Spec):
    """When an engine counts as lost, and how far the fleet goes to save its streams."""

    max_attempts: int = Field(
        default=3,
        ge=1,
        description="Times one request may lose its engine and go on with another; the next time "
        "it fails. Engines removed on purpose do not count. Default 3: more is no bad luck.",
    )
    poison_deaths: int = Field(
        default=2,
        ge=1,
        description="Engine deaths while running one request after which it is failed as the "
        "suspect. Default 2: one is bad luck, a third engine should not pay.",
    )
    hold_timeout_s: float = Field(
        default=120.0,
        ge=0,
        description="Seconds that requests wait for an engine when none is up; then 503 with "
        "Retry-After. Default 120: an engine of a mid-size model restarts within it.",
    )
    drain_timeout_s: float = Field(
        default=600.0,
        ge=0,
        description="Seconds that a replica which is to be removed may take to finish: an engine "
        "the requests that no other can take over, a gateway all its own. Default 600: several "
        "minutes of streaming. It leaves as soon as it has none.",
    )
    finish_within_s: float = Field(
        default=2.0,
        ge=0,
        description="A request that is expected to end within so many seconds is not moved from "
        "such an engine. Default 2: about what a move of a long answer costs.",
    )
    stall_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without a step after which an engine with work counts as stuck: its "
        "streams move and it is replaced. Default none: 20 times the longest of its own last 512 "
        "steps, and at least 15 s.",
    )
    hedge_after_s: float | None = Field(
        default=None,
        gt=0,
        description="A request without a token after so many seconds moves, once, to an engine "
        "with less to do, if there is one. Default none: its prefill may be half done, and starts "
        "again there.",
    )
    restart_backoff_max_s: float = Field(
        default=60.0,
        ge=0,
        le=300,
        description="Most seconds that an engine waits before it starts where engines of its model "
        "keep dying within 2 minutes of being ready. It waits not at all after two such deaths in "
        "a row, then 1, 2, 4 ... 0 turns it off. Default 60: a crash loop then costs little, and "
        "an engine comes back within a minute of the cure. At most 300: loops are forgotten after "
        "10 minutes.",
    )
    heartbeat_interval_s: float = Field(
        default=0.5, gt=0, description="Seconds between heartbeats to an engine. Default 0.5."
    )
    heartbeat_timeout_s: float = Field(
        default=1.5,
        gt=0,
        validate_default=True,
        description="Seconds of silence after which an engine counts as lost; above the interval. "
        "Default 1.5: three missed beats, so that streams move within 3 s of a node's death.",
    )

    @field_validator("heartbeat_timeout_s")
    @classmethod
    def _above_interval(cls, value: float, info: ValidationInfo) -> float:
        interval_s = info.data.get("heartbeat_interval_s")
        if interval_s is not None and value <= interval_s:
            raise ValueError(f"{value} must be above heartbeat_interval_s ({interval_s})")
        return value


class PortsSpec(_Spec):
    """Where the cluster listens."""

    http: Port = Field(
        default=8000,
        description="Port of the OpenAI endpoint. Default 8000, as vLLM's and Serve's.",
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address the endpoint binds. Default 127.0.0.1: an inference endpoint should "
        "not open itself to the network. A cluster of several nodes, or one that others use, sets "
        "0.0.0.0: each node's ingress must reach the gateways on the other nodes.",
    )
    engine_min: Port | None = Field(
        default=None,
        description="First port for engine sockets, where a firewall needs a fixed range. Default "
        "none: the operating system picks free ports.",
    )
    engine_max: Port | None = Field(
        default=None,
        validate_default=True,
        description="Last port (inclusive) of that range; set both or neither.",
    )

    @field_validator("engine_max")
    @classmethod
    def _range(cls, value: int | None, info: ValidationInfo) -> int | None:
        first = info.data.get("engine_min")
        if "engine_min" in info.data and (value is None) != (first is None):
            raise ValueError("set both engine_min and engine_max, or neither")
        if value is not None and first is not None and value < first:
            raise ValueError(f"{value} is below engine_min ({first})")
        return value


class ClusterSpec(_Spec):
    """Everything a cluster is started from."""

    models: tuple[ModelSpec, ...] = Field(
        strict=False,  # YAML has lists, the spec holds a tuple
        description="The models served behind one endpoint. At least one; names are unique.",
    )
    gateway: GatewaySpec = Field(default=GatewaySpec(), description="The API servers.")
    failover: FailoverSpec = Field(default=FailoverSpec(), description="Limits of failover.")
    ports: PortsSpec = Field(default=PortsSpec(), description="Where the cluster listens.")
    tenants: tuple[Tenant, ...] = Field(
        default=(),
        strict=False,
        description="Who may use the cluster, with which keys and limits. Default none: everyone "
        "who reaches it, see gateway.open.",
    )
    tenants_file: str | None = Field(
        default=None,
        min_length=1,
        description="YAML file with `tenants:` instead, on every node that has a gateway; relative "
        "to the spec's folder; `~` and `$VAR` are each node's. It is read again when it changes. "
        "Default none.",
    )

    @field_validator("tenants")
    @classmethod
    def _tenants(cls, value: tuple[Tenant, ...], info: ValidationInfo) -> tuple[Tenant, ...]:
        found = repeated(value)
        if "models" in info.data:
            found += unknown_models(value, {model.name for model in info.data["models"]})
        raise_all("tenants", found)
        return value

    @field_validator("tenants_file")
    @classmethod
    def _instead(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("tenants"):
            raise ValueError("set tenants or tenants_file, not both")
        return value

    @field_validator("models")
    @classmethod
    def _some_with_unique_names(cls, value: tuple[ModelSpec, ...]) -> tuple[ModelSpec, ...]:
        if not value:  # not min_length: pydantic counts only the valid ones, and would say both
            raise ValueError("at least one model is needed")
        raise_all("models", _duplicates([m.name for m in value]))
        return value

    @model_validator(mode="after")
    def _not_open_by_accident(self) -> Self:
        found = []
        if self.has_tenants and self.gateway.open:
            found = [Violation(("gateway", "open"), "true, but there are tenants: take one out")]
        elif not self.has_tenants and not self.gateway.open and not is_loopback(self.ports.host):
            found = [Violation(("ports", "host"), f"{self.ports.host}: {OPEN_BY_ACCIDENT}")]
        raise_all("spec", found)
        return self

    @property
    def has_tenants(self) -> bool:
        """Whether requests need a key."""
        return bool(self.tenants) or self.tenants_file is not None

    def model(self, name: str) -> ModelSpec:
        """The model served as `name`. Raises KeyError."""
        return {m.name: m for m in self.models}[name]


def _duplicates(names: Sequence[Any]) -> list[Violation]:
    """One violation per name (one entry per model, in order) that an earlier model has."""
    return [
        Violation((index, "name"), f"{name!r} is already models[{names.index(name)}]")
        for index, name in enumerate(names)
        if isinstance(name, str) and names.index(name) < index
    ]


def parse(data: Any) -> ClusterSpec:
    """The spec in `data` (what YAML gave). Raises SpecError with every violation."""
    try:
        return ClusterSpec.model_validate(data)
    except ValidationError as error:
        found = violations_of(error, ClusterSpec) + _raw_duplicates(data) + repeated_in(data)
        raise SpecError(list(dict.fromkeys(found))) from None


def _raw_duplicates(data: Any) -> list[tuple[str, str]]:
    """Duplicate names in raw data: pydantic looks for them only where each model alone is right."""
    models = data.get("models") if isinstance(data, Mapping) else None
    if not isinstance(models, list | tuple):
        return []
    names = [m.get("name") if isinstance(m, Mapping) else None for m in models]
    return [(key_path(("models", *v.location)), v.message) for v in _duplicates(names)]


def load(path: str | Path) -> ClusterSpec:
    """The spec in a YAML file. Raises SpecError, also for a missing file or broken YAML."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError([("", f"cannot read {path}: {error.strerror}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([("", f"{path} is not valid YAML: {error}")]) from None
    return _relative_to(parse(data), path.parent.absolute())


def _relative_to(spec: ClusterSpec, folder: Path) -> ClusterSpec:
    models = tuple(
        m.model_copy(update={"source": str((folder / m.source).resolve())})
        if m.source.startswith(("./", "../"))
        else m
        for m in spec.models
    )
    return spec.model_copy(
        update={"models": models, "tenants_file": _below(folder, spec.tenants_file)}
    )


def _below(folder: Path, path: str | None) -> str | None:
    """A path beside the spec made absolute; `~` and `$VAR` are each node's to replace."""
    if path is None or path.startswith(("~", "$")):
        return path
    return str(folder / path)


def resolve_devices(spec: ClusterSpec, *, gpu_build: bool) -> ClusterSpec:
    """The spec with every `device: auto` and `preset` made explicit; whether vLLM's CUDA build is
    installed is the caller's to say."""
    models = tuple(m.on_device(gpu_build) for m in spec.models)
    return spec.model_copy(update={"models": models})


def dump(spec: ClusterSpec) -> str:
    """YAML of the spec with every default filled in; `parse(yaml.safe_load(dump(s))) == s`."""
    # Other letters come out escaped: with allow_unicode, PyYAML loses U+0085.
    return yaml.safe_dump(spec.model_dump(), sort_keys=False, width=100)
