"""A model's size and shape, from its config.json (Hugging Face's names).

Matrices only; norms and biases are below a thousandth. With h hidden, a attention heads of d, k KV
heads, m the MLP's width:

| part                   | parameters                                                          |
|------------------------|---------------------------------------------------------------------|
| attention              | h d (2 a + 2 k)                                                     |
| latent attention (MLA) | queries: h q + q a (n + r), or h a (n + r); KV: h (c + r) + c a     |
|                        | (n + v); output: a v h                                              |
| gated MLP              | 3 h m                                                               |
| experts                | as many gated MLPs, shared ones, and h times their number to choose |
| embedding, head        | h vocab each; once where they are tied                              |

MLA: DeepSeek-V2, arXiv:2405.04434, section 2.1 (q, c: ranks of queries and of KV; n, r, v: widths
of a head without and with positions, and of its values).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.planning import ShapeError

DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "half": 2.0}

NOT_DECODERS = (
    "text_config", "vision_config", "audio_config", "encoder_layers", "ssm_cfg", "mamba_d_state",
)  # fmt: skip
"""Fields of models that have more than a decoder, or another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """`kv_elements`: of one token in one layer, on all GPUs together; `split`: into how many parts
    tensor parallelism can cut them (1: every GPU has all)."""

    params: int
    kv_elements: int
    split: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """One layer's. `shared_params`: read for every token; the others by experts, of which each
    token takes `chosen`."""

    shared_params: int
    expert_params: int = 0
    experts: int = 0
    chosen: int = 0

    @property
    def params(self) -> int:
        return self.shared_params + self.experts * self.expert_params

    def read(self, tokens: float) -> float:
        """Parameters that a step over so many tokens reads: of the experts those that any of them
        takes, if each takes others than the one before by chance."""
        if not self.experts:
            return self.shared_params
        untouched: float = (1.0 - self.chosen / self.experts) ** tokens
        return self.shared_params + self.experts * self.expert_params * (1.0 - untouched)

    @property
    def active_params(self) -> int:
        """That one token passes through."""
        return self.shared_params + self.chosen * self.expert_params


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """`mlps`: one for each layer. `windows`: of each layer's attention, None for all of the
    context. `heads`, `head_dim`: of the queries."""

    kind: str
    hidden: int
    heads: int
    head_dim: int
    vocab: int
    tied: bool
    attention: Attention
    mlps: Sequence[Mlp]
    windows: Sequence[int | None]
    max_tokens: int
    param_bytes: float

    @property
    def layers(self) -> int:
        return len(self.mlps)

    @property
    def embedding_params(self) -> int:
        return self.hidden * self.vocab * (1 if self.tied else 2)

    @property
    def params(self) -> int:
        layers = self.layers * self.attention.params + sum(mlp.params for mlp in self.mlps)
        return layers + self.embedding_params

    @property
    def active_params(self) -> int:
        """That a token passes through: layers and head, without the embedding's look-up."""
        layers = self.layers * self.attention.params
        return layers + sum(mlp.active_params for mlp in self.mlps) + self.hidden * self.vocab

    def kv_elements(self, tokens: float) -> float:
        """Of one request of so many tokens: a layer with a window keeps that, and no more."""
        kept = sum(tokens if window is None else min(tokens, window) for window in self.windows)
        return self.attention.kv_elements * kept


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """Raises ShapeError."""
    kind = str(config.get("model_type", "unknown"))
    if config.get("is_encoder_decoder"):
        raise ShapeError(f"{kind}: models with an encoder cannot be planned with")
    for field in NOT_DECODERS:
        if config.get(field):
            raise ShapeError(f"{kind} has {field}: only plain decoders can be planned with")
    hidden, heads = _whole(config, "hidden_size"), _whole(config, "num_attention_heads")
    layers = _whole(config, "num_hidden_layers")
    attention, head_dim = _attention(config, hidden, heads)
    return ModelShape(
        kind=kind,
        hidden=hidden,
        heads=heads,
        head_dim=head_dim,
        vocab=_whole(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),
        attention=attention,
        mlps=[_mlp(config, hidden, layer) for layer in range(layers)],
        windows=_windows(config, layers),
        max_tokens=_whole(config, "max_position_embeddings"),
        param_bytes=_param_bytes(config),
    )


def _whole(config: Mapping[str, Any], field: str, default: int | None = None) -> int:
    value = config.get(field, default)
    if value is None:
        raise ShapeError(f"config.json has no {field}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ShapeError(f"config.json: {field} is {value!r}, not a whole number above 0")
    return value


def _attention(config: Mapping[str, Any], hidden: int, heads: int) -> tuple[Attention, int]:
    if config.get("kv_lora_rank"):
        return _latent_attention(config, hidden, heads)
    kv_heads = _whole(config, "num_key_value_heads", heads)
    if heads % kv_heads:
        raise ShapeError(f"config.json: {heads} attention heads do not divide by {kv_heads} of KV")
    head_dim = config.get("head_dim") or hidden // heads
    attention = Attention(
        params=hidden * head_dim * 2 * (heads + kv_heads),
        kv_elements=2 * kv_heads * head_dim,
        split=kv_heads,
    )
    return attention, head_dim


def _latent_attention(config: Mapping[str, Any], hidden: int, heads: int) -> tuple[Attention, int]:
    kv_rank = _whole(config, "kv_lora_rank")
    plain, rotary = _whole(config, "qk_nope_head_dim"), _whole(config, "qk_rope_head_dim")
    value, query_rank = _whole(config, "v_head_dim"), config.get("q_lora_rank")
    queries = heads * (plain + rotary)
    params = hidden * queries if not query_rank else query_rank * (hidden + queries)
    params += hidden * (kv_rank + rotary) + kv_rank * heads * (plain + value)
    params += heads * value * hidden
    return Attention(params=params, kv_elements=kv_rank + rotary, split=1), plain + rotary


def _mlp(config: Mapping[str, Any], hidden: int, layer: int) -> Mlp:
    experts = _experts(config)
    if not experts or layer < (config.get("first_k_dense_replace") or 0):
        return Mlp(shared_params=3 * hidden * _whole(config, "intermediate_size"))
    chosen = _whole(config, "num_experts_per_tok")
    width = _whole(config, "moe_intermediate_size", config.get("intermediate_size"))
    shared = 3 * hidden * width * int(config.get("n_shared_experts") or 0)
    shared += 3 * hidden * int(config.get("shared_expert_intermediate_size") or 0)
    return Mlp(
        shared_params=shared + hidden * experts,
        expert_params=3 * hidden * width,
        experts=experts,
        chosen=min(chosen, experts),
    )


def _experts(config: Mapping[str, Any]) -> int:
    for field in ("num_local_experts", "n_routed_experts", "num_experts"):
        if config.get(field):
            return _whole(config, field)
    return 0


def _windows(config: Mapping[str, Any], layers: int) -> list[int | None]:
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return [None] * layers
    kinds = config.get("layer_types")
    if kinds is not None:
        if len(kinds) != layers:
            raise ShapeError(f"config.json: layer_types has {len(kinds)} of {layers} layers")
        known = {"full_attention": None, "sliding_attention": int(window)}
        if unknown := set(kinds) - known.keys():
            raise ShapeError(f"config.json: layers of {sorted(unknown)} cannot be planned with")
        return [known[kind] for kind in kinds]
    every = int(config.get("sliding_window_pattern") or 0)
    if every:
        return [None if (layer + 1) % every == 0 else int(window) for layer in range(layers)]
    return [int(window)] * layers


def _param_bytes(config: Mapping[str, Any]) -> float:
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    name = dtype.removeprefix("torch.")
    if name not in DTYPE_BYTES:
        raise ShapeError(f"config.json: dtype {name!r} is none of {', '.join(DTYPE_BYTES)}")
    return min(2.0, DTYPE_BYTES[name])  # vLLM runs 32 bits as 16, where it may choose
