"""`tokenfleet keys`: keys for tenants, of which the cluster gets to see the hashes only."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import Any

from pydantic import ValidationError

from cluster.admission.keyring import key_hash
from cluster.admission.tenants import Tenant

KEY_PREFIX = "tf-"
"""Shows what a string is that turns up where no key belongs."""

KEY_BYTES = 32
FEW_CHARACTERS = 20
"""Below that a key could be found by trying, since its hash is fast."""

WRONG_INPUT = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For the command's parser."""
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    create = commands.add_parser("create", help="make a key for a tenant, and print it, once")
    create.add_argument("name", metavar="NAME", type=_tenant, help="of the tenant")
    create.set_defaults(run=_create)
    hashed = commands.add_parser("hash", help="print the hash of a key, read from standard input")
    hashed.set_defaults(run=_hash)


def _tenant(text: str) -> str:
    try:
        return Tenant(name=text, key_hashes=()).name
    except ValidationError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no tenant's name: letters, digits, `.`, `_`, `-`, at most 64"
        ) from None


def _create(args: argparse.Namespace) -> int:
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    print(f"The key of {args.name}, shown this once:\n\n    {key}\n")
    print("For tenants: in the spec, or the file that tenants_file names:\n")
    print(f"  - name: {args.name}\n    key_hashes: [{key_hash(key)}]")
    return 0


def _hash(args: Any) -> int:
    key = sys.stdin.read().strip()
    if len(key) < FEW_CHARACTERS or len(key.split()) != 1:
        print(
            f"standard input should be one key of {FEW_CHARACTERS} characters or more, "
            "without spaces",
            file=sys.stderr,
        )
        return WRONG_INPUT
    print(f"key_hashes: [{key_hash(key)}]")
    return 0
