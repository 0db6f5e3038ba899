"""Where a cluster without tenants may listen: nobody is asked for a key there.

Pure but for what an address is, which `ipaddress` knows.
"""

from __future__ import annotations

from ipaddress import ip_address

OPEN_BY_ACCIDENT = (
    "others reach it, and without tenants nobody is asked for a key; name tenants or a "
    "tenants_file, or say that it is meant: gateway.open: true"
)

VLLM_KEY_ENV = "VLLM_API_KEY"
NO_VLLM_KEY = "vLLM would ask for it behind the gateway's back; name tenants instead"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is bound to `host`. A name is taken for one that
    others reach, but for localhost."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def everyone(host: str) -> str:
    """The warning of a cluster without tenants."""
    return f"no tenants: everyone who reaches {host} may use every route, and nobody needs a key"
