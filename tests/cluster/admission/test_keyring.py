"""Whose key it is: rotation, revocation, and that a lookup tells nothing by what it does."""

import hashlib
import hmac

import pytest

from cluster.admission.keyring import Keyring, key_hash
from cluster.admission.tenants import OPEN
from tests.cluster.admission.admission_cases import tenant

A, B = tenant("a", "a-old", "a-new"), tenant("b", "b-key")
KEYRING = Keyring([A, B])


@pytest.mark.parametrize(("key", "owner"), [("a-old", A), ("a-new", A), ("b-key", B)])
def test_each_key_finds_its_tenant(key: str, owner: object) -> None:
    assert KEYRING.find(key) is owner


@pytest.mark.parametrize("key", [None, "", "c", "a-old ", "A-OLD", "ü\udcff", key_hash("a-old")])
def test_any_other_key_finds_nobody(key: str | None) -> None:
    assert KEYRING.find(key) is None


def test_a_revoked_key_is_as_unknown_as_any() -> None:
    after = Keyring([tenant("a", "a-new"), B])
    assert after.find("a-old") is after.find("never was") is None
    assert after.find("a-new") is not None


def test_no_key_at_all_is_nobodys_even_where_its_hash_is_configured() -> None:
    assert Keyring([tenant("a", "")]).find("") is None
    assert Keyring([tenant("a", "")]).find(None) is None


def test_a_tenant_without_keys_is_locked_out_and_opens_nothing() -> None:
    keyring = Keyring([tenant("a")])
    assert not keyring.is_open
    assert keyring.find("") is keyring.find("a") is None


def test_without_tenants_everyone_is_the_open_one() -> None:
    keyring = Keyring([])
    assert keyring.is_open
    assert keyring.find(None) is keyring.find("whatever") is OPEN


def test_the_hash_is_plain_sha_256() -> None:
    assert key_hash("key") == hashlib.sha256(b"key").hexdigest()


@pytest.mark.parametrize("key", ["a-old", "a-new", "b-key", "none"])
def test_a_lookup_compares_with_every_hash_whatever_it_finds(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counting(shown: bytes, known: bytes) -> bool:
        compared.append(known)
        return compare(shown, known)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    KEYRING.find(key)
    hashes = [*A.key_hashes, *B.key_hashes]
    assert compared == [known.encode() for known in hashes]
