"""Tenants: who may use the cluster, with which keys, how much, and before whom.

They stand under `tenants:` in the spec, or alone in a secret file of the same form:

    tenants:
      - name: search
        key_hashes: [9f86d081…]        # SHA-256 of the key, 64 hex digits
        models: [demo]
        requests_per_min: 600
        tokens_per_min: 200000
        weight: 2
      - name: nightly
        key_hashes: [60303ae2…, fd61a03a…]     # two, while one replaces the other
        priority: batch

Without any tenant the cluster is open: everyone is `OPEN`, which has no limits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator

from cluster.admission_spec import MaxWait
from cluster.spec_errors import SpecError, Violation, key_path, raise_all, violations_of
from cluster.spec_model import SpecModel

Priority = Literal["interactive", "batch"]

KEY_HASH = re.compile(r"[0-9a-f]{64}")
TENANT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _no_key(value: Any) -> Any:
    """The message does not quote what was given: it may be the key itself."""
    if not isinstance(value, str) or not KEY_HASH.fullmatch(value):
        raise ValueError("not 64 lowercase hex digits; it has to be a key's SHA-256, not the key")
    return value


KeyHash = Annotated[str, BeforeValidator(_no_key)]


class Tenant(SpecModel):
    """One who has keys, limits and a share of the fleet."""

    name: str = Field(
        pattern=TENANT_NAME,
        max_length=64,
        description="Name in metrics, usage and logs: letters, digits, `.`, `_`, `-`. Required; "
        "unique.",
    )
    key_hashes: tuple[KeyHash, ...] = Field(
        strict=False,  # YAML has lists
        description="SHA-256 of each of its keys, 64 hex digits. Several are valid side by side, "
        "so that a key can be replaced; with none it is locked out. Required; unique.",
    )
    models: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        description="Models it may use, by the spec's names; a LoRA adapter goes with its model. "
        "Default: all.",
    )
    requests_per_min: int | None = Field(
        default=None,
        ge=1,
        description="Requests a minute; as many may come at once. Default none: no limit.",
    )
    tokens_per_min: int | None = Field(
        default=None,
        ge=1,
        description="Prompt and output tokens a minute; as many may come at once. Reserved when a "
        "request is admitted, from its prompt and max_tokens, and settled at its end. Default "
        "none: no limit.",
    )
    max_concurrent: int | None = Field(
        default=None,
        ge=1,
        description="Requests that wait or run at the same time. Default none: no limit.",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Its part of a full fleet, in tokens, relative to the other tenants of its "
        "class that have requests waiting. Default 1: equal parts. At most 1000.",
    )
    priority: Priority = Field(
        default="interactive",
        description="interactive goes first; batch gets what that leaves, may have to wait as long "
        "as interactive requests wait, and makes room for them. Default interactive.",
    )
    max_wait_s: MaxWait | None = Field(
        default=None,
        description="Seconds that its requests may wait for an engine with room. Default: the "
        "model's.",
    )
    admin: bool = Field(
        default=False,
        description="Whether its keys open the operational routes too (/fleet, sleep, LoRA …). "
        "Default false.",
    )

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


OPEN = Tenant(name="open", key_hashes=(), admin=True)
"""Everyone, where no tenant is configured: there is no key that could be asked for."""


class TenantsFile(SpecModel):
    """A secret file with tenants, which the spec names instead of holding them."""

    tenants: tuple[Tenant, ...] = Field(
        strict=False, description="As `tenants:` in the spec. Required."
    )

    @field_validator("tenants")
    @classmethod
    def _unique(cls, value: tuple[Tenant, ...]) -> tuple[Tenant, ...]:
        raise_all("tenants", repeated(value))
        return value


def parse_tenants(data: Any, models: Collection[str]) -> tuple[Tenant, ...]:
    """The tenants in `data` (what YAML gave); `models` are those that there are.

    Raises SpecError with every violation.
    """
    try:
        tenants = TenantsFile.model_validate(data).tenants
    except ValidationError as error:
        found = violations_of(error, TenantsFile) + repeated_in(data)
        raise SpecError(list(dict.fromkeys(found))) from None
    if unknown := unknown_models(tenants, models):
        raise SpecError([(key_path(("tenants", *v.location)), v.message) for v in unknown])
    return tenants


def load_tenants(path: str | Path, models: Collection[str]) -> tuple[Tenant, ...]:
    """The tenants in a YAML file. Raises SpecError, also for a missing file or broken YAML."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError([("", f"cannot read {path}: {error.strerror}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        # What YAML says quotes the file, and this one is secret.
        raise SpecError([("", f"{path} is not valid YAML")]) from None
    return parse_tenants(data, models)


def repeated(tenants: Iterable[Any]) -> list[Violation]:
    """One violation for each name and key hash that stands earlier already.

    `tenants`: `Tenant`s, or what YAML gave for them; what has no name or hashes is passed over.
    """
    found: list[Violation] = []
    names: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for index, tenant in enumerate(tenants):
        name, key_hashes = _named(tenant, "name"), _named(tenant, "key_hashes")
        if isinstance(name, str):
            found += _repeats(names, name, repr(name), (index, "name"))
        if isinstance(key_hashes, list | tuple):
            for place, key_hash in enumerate(key_hashes):
                if isinstance(key_hash, str):
                    found += _repeats(hashes, key_hash, "this", (index, "key_hashes", place))
    return found


def repeated_in(data: Any) -> list[tuple[str, str]]:
    """The same in raw data, as (key path, message): pydantic looks for it only where each tenant
    alone is right."""
    tenants = data.get("tenants") if isinstance(data, Mapping) else None
    if not isinstance(tenants, list | tuple):
        return []
    return [(key_path(("tenants", *v.location)), v.message) for v in repeated(tenants)]


def unknown_models(tenants: Sequence[Tenant], models: Collection[str]) -> list[Violation]:
    """One violation for each model that a tenant may use and that is not among `models`."""
    return [
        Violation((index, "models", place), f"{model!r} is not one of the models")
        for index, tenant in enumerate(tenants)
        for place, model in enumerate(tenant.models or ())
        if model not in models
    ]


def _named(tenant: Any, field: str) -> Any:
    return tenant.get(field) if isinstance(tenant, Mapping) else getattr(tenant, field, None)


def _repeats(
    first: dict[str, str], value: str, called: str, location: tuple[int | str, ...]
) -> list[Violation]:
    path = key_path(("tenants", *location))
    earlier = first.setdefault(value, path)
    return [] if earlier == path else [Violation(location, f"{called} is already {earlier}")]
