"""A stand-in for Ray's GCS, as far as `serve_app.cluster_store` goes."""

from __future__ import annotations


class Gcs:
    """What a Ray process has of its cluster's store: the calls that `internal_kv` makes."""

    def __init__(self) -> None:
        self.kept: dict[tuple[bytes, bytes], bytes] = {}
        self.first_other: bytes | None = None  # another process puts this just before us

    def internal_kv_put(self, key, value, overwrite, namespace):
        if self.first_other is not None:
            self.kept[namespace, key] = self.first_other
        if (namespace, key) in self.kept and not overwrite:
            return 0
        self.kept[namespace, key] = value
        return 1

    def internal_kv_get(self, key, namespace):
        return self.kept.get((namespace, key))

    def internal_kv_del(self, key, del_by_prefix, namespace):
        assert not del_by_prefix
        return 0 if self.kept.pop((namespace, key), None) is None else 1

    def internal_kv_keys(self, prefix, namespace):
        return [key for space, key in self.kept if space == namespace and key.startswith(prefix)]
