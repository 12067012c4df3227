"""Published vision transformers as differences from ViT: settings, tensor names."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hsjax.models.families import (
    CLIP_LAYER,
    Entry,
    Family,
    block,
    linear,
    norm,
    only,
    setting,
)
from hsjax.models.published_files import PublishedError
from hsjax.models.transformer import ACTIVATIONS
from hsjax.models.vit import VisionTransformer

# what the config.json of ViT calls our settings
VIT_KEYS = {
    "patch": "patch_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "activation": "hidden_act",
    "eps": "layer_norm_eps",
}
# a config within a config holds only what differs from these
CLIP_DEFAULTS = {
    "patch_size": 32,
    "image_size": 224,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 512,
}
CLS, DISTILLATION = "cls_token", "distillation_token"


class VitTensorNames(NamedTuple):
    """Where a family of vision transformers keeps what all of them have.

    Attributes:
      embedding: entries before the first layer, without tokens that not all have.
      norms: ours -> theirs, of norms outside of layers.
      layer: name of layer {i}.
      parts: of a layer, see `families.block`.
      scales: of a layer, ours -> theirs, layer scale.
    """

    embedding: tuple[Entry, ...]
    norms: Mapping[str, str]
    layer: str
    parts: Mapping[str, tuple[str, ...]]
    scales: Mapping[str, str] = {}


VIT = VitTensorNames(
    (
        Entry(CLS, ("embeddings.cls_token",)),
        Entry("position", ("embeddings.position_embeddings",), "squeeze"),
        Entry(
            "patch_embedding/kernel",
            ("embeddings.patch_embeddings.projection.weight",),
            "conv",
        ),
        Entry("patch_embedding/bias", ("embeddings.patch_embeddings.projection.bias",)),
    ),
    {"final_norm": "layernorm"},
    "encoder.layer.{i}",
    {
        "attention/qkv": tuple(
            f"attention.attention.{x}" for x in ("query", "key", "value")
        ),
        "attention/out": ("attention.output.dense",),
        "attention_norm": ("layernorm_before",),
        "mlp_in": ("intermediate.dense",),
        "mlp_out": ("output.dense",),
        "mlp_norm": ("layernorm_after",),
    },
)
DEIT = VIT._replace(
    embedding=(*VIT.embedding, Entry(DISTILLATION, (f"embeddings.{DISTILLATION}",)))
)
DINOV2 = VIT._replace(
    parts=dict(VIT.parts)
    | {
        "attention_norm": ("norm1",),
        "mlp_in": ("mlp.fc1",),
        "mlp_out": ("mlp.fc2",),
        "mlp_norm": ("norm2",),
    },
    scales={
        "attention_scale": "layer_scale1.lambda1",
        "mlp_scale": "layer_scale2.lambda1",
    },
)
CLIP = VitTensorNames(
    (
        Entry(CLS, ("embeddings.class_embedding",), "lift"),
        Entry("position", ("embeddings.position_embedding.weight",)),
        Entry("patch_embedding/kernel", ("embeddings.patch_embedding.weight",), "conv"),
    ),
    # their spelling
    {"embedding_norm": "pre_layrnorm", "final_norm": "post_layernorm"},
    "encoder.layers.{i}",
    CLIP_LAYER,
)


def _vit_settings(config: Mapping, tokens=(CLS,), **fixed) -> dict:
    """What all vision transformers read from their config.json, checked."""
    only(config, "num_channels", 3)
    only(config, "qkv_bias", True)
    only(config, "hidden_act", *ACTIVATIONS)
    keys = {k: v for k, v in VIT_KEYS.items() if k not in fixed}
    settings = {ours: setting(config, theirs) for ours, theirs in keys.items()}
    settings |= {"dropout": float(config.get("hidden_dropout_prob", 0.0))} | fixed
    sides = setting(config, "image_size"), settings["patch"]
    (height, width), patch = (
        tuple(side) if isinstance(side, list | tuple) else (side, side)
        for side in sides
    )
    if patch[0] != patch[1]:
        raise PublishedError(
            f"config.json: patch_size is {list(patch)}; only square patches are known"
        )
    if settings["width"] % settings["heads"]:
        raise PublishedError(
            f"config.json: hidden_size {settings['width']} is no multiple of"
            f" num_attention_heads {settings['heads']}"
        )
    return settings | {
        "patch": patch[0],
        "grid": (height // patch[0], width // patch[0]),
        "tokens": tokens,
        "pool": "cls",
    }


def vit_settings(config: Mapping) -> dict:
    """ViT (Dosovitskiy et al., 2021); the vector of the class token."""
    return _vit_settings(config)


def deit_settings(config: Mapping) -> dict:
    """DeiT (Touvron et al., 2021), distilled: a second token; the class token's vector.

    The average with the distillation token's is one of their two heads, not of the
    encoder. A DeiT without that token is published as `vit`.
    """
    return _vit_settings(config, (CLS, DISTILLATION))


def dinov2_settings(config: Mapping) -> dict:
    """DINOv2 (Oquab et al., 2023): layer scale; without registers, without SwiGLU."""
    if config.get("use_swiglu_ffn"):
        raise PublishedError(
            "config.json: use_swiglu_ffn is set (the giant DINOv2); only the plain MLP"
            " of the small, base and large ones is known"
        )
    mlp = int(setting(config, "hidden_size") * setting(config, "mlp_ratio", 4))
    start = float(config.get("layerscale_value", 1.0))
    return _vit_settings(config, mlp=mlp, layer_scale=start or 1.0)


def clip_settings(config: Mapping) -> dict:
    """CLIP's image tower (Radford et al., 2021), alone or within the whole model.

    Projected into the joint space, where the architecture is.
    """
    whole = "vision_config" in config
    vision = CLIP_DEFAULTS | dict(config["vision_config"] if whole else config)
    names = config.get("architectures") or ()
    projected = whole or any("Projection" in name for name in names)
    width = (
        setting(config, "projection_dim", 512) if whole else vision["projection_dim"]
    )
    return _vit_settings(
        vision,
        patch_bias=False,
        embedding_norm=True,
        projection=width if projected else 0,
    )


def _vit_entries(tensors: VitTensorNames) -> Callable[[dict], list[Entry]]:
    def entries(settings: dict) -> list[Entry]:
        """Every parameter of a VisionTransformer of these settings."""
        found = list(tensors.embedding)
        for ours, theirs in tensors.norms.items():
            found += norm(ours, theirs)
        for i in range(settings["depth"]):
            ours, theirs = f"layer{i}", tensors.layer.format(i=i)
            found += block(ours, theirs, tensors.parts)
            found += [
                Entry(f"{ours}/{part}", (f"{theirs}.{name}",))
                for part, name in tensors.scales.items()
            ]
        if settings.get("projection"):
            found += linear("projection", "visual_projection", bias=False)
        return found

    return entries


HEAD = (r"(\w+_)?classifier\..*", "the head of another task")
UNUSED = (
    (r"pooler\..*", "a layer above the class token, not of the encoder"),
    (r"embeddings\.mask_token", "only for pretraining"),
    (r"decoder\..*", "only for pretraining"),
    HEAD,
)
CLIP_UNUSED = (
    (r"(.*\.)?position_ids", "a constant: 0, 1, 2, ..."),
    (r"(text_model|text_projection)\..*", "the text tower"),
    (r"visual_projection\..*", "the joint space, where it is not asked for"),
    (r"logit_scale", "the temperature of the contrastive loss"),
    HEAD,
)


def _vit(name, prefix, settings, tensors, unused=UNUSED) -> Family:
    entries = _vit_entries(tensors)
    return Family(name, (prefix,), settings, VisionTransformer, entries, unused)


VIT_FAMILIES = (
    _vit("vit", "vit.", vit_settings, VIT),
    _vit("deit", "deit.", deit_settings, DEIT),
    _vit("dinov2", "dinov2.", dinov2_settings, DINOV2),
    _vit("clip", "vision_model.", clip_settings, CLIP, CLIP_UNUSED),
    _vit("clip_vision_model", "vision_model.", clip_settings, CLIP, CLIP_UNUSED),
)
