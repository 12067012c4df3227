"""Published text encoders as differences from BERT: settings and tensor names."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hsjax.models.families import (
    CLIP_LAYER,
    Entry,
    Family,
    block,
    linear,
    norm,
    setting,
    text_inputs,
)
from hsjax.models.published_files import PublishedError
from hsjax.models.text import TextEncoder
from hsjax.models.transformer import ACTIVATIONS

# what the config.json of BERT calls our settings
BERT_KEYS = {
    "vocab_size": "vocab_size",
    "max_length": "max_position_embeddings",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "activation": "hidden_act",
    "eps": "layer_norm_eps",
    "token_types": "type_vocab_size",
}
DISTILBERT_KEYS = BERT_KEYS | {
    "width": "dim",
    "depth": "n_layers",
    "heads": "n_heads",
    "mlp": "hidden_dim",
    "dropout": "dropout",
    "activation": "activation",
}
del DISTILBERT_KEYS["eps"], DISTILBERT_KEYS["token_types"]
CLIP_KEYS = {k: v for k, v in BERT_KEYS.items() if k not in ("dropout", "token_types")}
# a config within a config holds only what differs from these
CLIP_VALUES = (49408, 77, 512, 12, 8, 2048, "quick_gelu", 1e-5)
CLIP_DEFAULTS = dict(zip(CLIP_KEYS.values(), CLIP_VALUES, strict=True))
CLIP_DEFAULTS["projection_dim"] = 512
POST_NORM = {"pool": "mean", "pre_norm": False}
QKV = ("query", "key", "value")


class TextTensorNames(NamedTuple):
    """Where a family keeps what all of them have: names without `.weight`, `.bias`.

    Attributes:
      tables: of tokens and of positions; of token types where there are any.
      embedding_norm, final_norm: "" where there is none.
      layer: name of layer {i}.
      parts: of a layer, see `families.block`.
    """

    tables: tuple[str, ...]
    embedding_norm: str
    final_norm: str
    layer: str
    parts: Mapping[str, tuple[str, ...]]


BERT = TextTensorNames(
    tuple(f"embeddings.{x}_embeddings" for x in ("word", "position", "token_type")),
    "embeddings.LayerNorm",
    "",
    "encoder.layer.{i}",
    {
        "attention/qkv": tuple(f"attention.self.{x}" for x in QKV),
        "attention/out": ("attention.output.dense",),
        "attention_norm": ("attention.output.LayerNorm",),
        "mlp_in": ("intermediate.dense",),
        "mlp_out": ("output.dense",),
        "mlp_norm": ("output.LayerNorm",),
    },
)
DISTILBERT = BERT._replace(
    layer="transformer.layer.{i}",
    parts={
        "attention/qkv": tuple(f"attention.{x}_lin" for x in "qkv"),
        "attention/out": ("attention.out_lin",),
        "attention_norm": ("sa_layer_norm",),
        "mlp_in": ("ffn.lin1",),
        "mlp_out": ("ffn.lin2",),
        "mlp_norm": ("output_layer_norm",),
    },
)
ALBERT = BERT._replace(
    layer="encoder.albert_layer_groups.{i}.albert_layers.0",
    parts={
        "attention/qkv": tuple(f"attention.{x}" for x in QKV),
        "attention/out": ("attention.dense",),
        "attention_norm": ("attention.LayerNorm",),
        "mlp_in": ("ffn",),
        "mlp_out": ("ffn_output",),
        "mlp_norm": ("full_layer_layer_norm",),
    },
)
CLIP = TextTensorNames(
    ("embeddings.token_embedding", "embeddings.position_embedding"),
    "",
    "final_layer_norm",
    "encoder.layers.{i}",
    CLIP_LAYER,
)


def _settings(config: Mapping, keys: Mapping[str, str], **fixed) -> dict:
    """What all families read from their config.json, checked."""
    # dropout is no fact of the weights: where nothing is said it is BERT's
    config = {keys.get("dropout", ""): 0.1, **config}
    settings = {ours: setting(config, theirs) for ours, theirs in keys.items()} | fixed
    if settings["activation"] not in ACTIVATIONS:
        raise PublishedError(
            f"config.json: {keys['activation']} is {settings['activation']!r};"
            f" known: {', '.join(ACTIVATIONS)}"
        )
    for ours in ("vocab_size", "max_length", "width", "depth", "heads", "mlp"):
        if not isinstance(value := settings[ours], int) or value < 1:
            raise PublishedError(f"config.json: {keys[ours]} is {value!r}")
    if settings["width"] % settings["heads"]:
        raise PublishedError(
            f"config.json: {keys['width']} {settings['width']} is no multiple of"
            f" {keys['heads']} {settings['heads']}"
        )
    return settings


def bert_settings(config: Mapping) -> dict:
    """BERT (Devlin et al., 2019), MiniLM, multilingual-e5; see `Family.settings`."""
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise PublishedError(
            "config.json: position_embedding_type is"
            f" {config['position_embedding_type']!r}; only absolute is known"
        )
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key):
            raise PublishedError(f"config.json: {key} is set; only encoders are known")
    return _settings(config, BERT_KEYS, **POST_NORM)


def roberta_settings(config: Mapping) -> dict:
    """RoBERTa (Liu et al., 2019), XLM-R: the first position is padding_idx + 1."""
    settings = bert_settings(config)
    offset = setting(config, "pad_token_id", 1) + 1
    length = settings["max_length"] - offset
    return settings | {"position_offset": offset, "max_length": length}


def distilbert_settings(config: Mapping) -> dict:
    """DistilBERT (Sanh et al., 2019): no token types."""
    return _settings(config, DISTILBERT_KEYS, eps=1e-12, **POST_NORM)


def albert_settings(config: Mapping) -> dict:
    """ALBERT (Lan et al., 2020): narrow embeddings, few layers used many times."""
    if config.get("inner_group_num", 1) != 1:
        raise PublishedError(
            f"config.json: inner_group_num is {config['inner_group_num']};"
            " only 1 is known"
        )
    return bert_settings(config) | {
        "embedding_width": setting(config, "embedding_size"),
        "shared": setting(config, "num_hidden_groups", 1),
    }


def clip_settings(config: Mapping) -> dict:
    """CLIP's text tower (Radford et al., 2021), alone or within the whole model.

    The vector of the end-of-text token; projected, where the architecture is.
    """
    whole = "text_config" in config
    text = CLIP_DEFAULTS | dict(config["text_config"] if whole else config)
    projected = whole or any(
        "Projection" in a for a in config.get("architectures") or ()
    )
    width = setting(config, "projection_dim", 512) if whole else text["projection_dim"]
    return _settings(
        text,
        CLIP_KEYS,
        dropout=0.0,
        pool="eot",
        pre_norm=True,
        causal=True,
        embedding_norm=False,
        projection=width if projected else 0,
    )


def _entries(tensors: TextTensorNames) -> Callable[[dict], list[Entry]]:
    def entries(settings: dict) -> list[Entry]:
        """Every parameter of a TextEncoder of these settings."""
        ours = ["token_embedding", "position"]
        ours += ["type_embedding"] if settings.get("token_types") else []
        pairs = zip(ours, tensors.tables, strict=False)
        found = [Entry(name, (f"{table}.weight",)) for name, table in pairs]
        for name in ("embedding_norm", "final_norm"):
            if theirs := getattr(tensors, name):
                found += norm(name, theirs)
        if settings.get("embedding_width"):
            theirs = "encoder.embedding_hidden_mapping_in"
            found += linear("embedding_projection", theirs)
        for i in range(settings.get("shared") or settings["depth"]):
            found += block(f"layer{i}", tensors.layer.format(i=i), tensors.parts)
        if settings.get("projection"):
            found += linear("projection", "text_projection", bias=False)
        return found

    return entries


UNUSED = (
    (r"pooler\..*", "a layer for sentence pairs, trained apart from the encoder"),
    (r"(.*\.)?position_ids", "a constant: 0, 1, 2, ..."),
    (r"embeddings\.token_type_ids", "a constant: 0"),
    (r"(cls|lm_head|predictions|vocab_\w+|sop_classifier)\..*", "a pretraining head"),
    (r"(pre_classifier|classifier|qa_outputs)\..*", "the head of another task"),
    (r"(vision_model|visual_projection)\..*", "the image tower"),
    (r"logit_scale", "the temperature of the contrastive loss"),
)
TEXT_FAMILIES: dict[str, Family] = {
    name: Family(
        name, (prefix,), read, TextEncoder, _entries(tensors), UNUSED, text_inputs
    )
    for name, prefix, read, tensors in (
        ("bert", "bert.", bert_settings, BERT),
        ("roberta", "roberta.", roberta_settings, BERT),
        ("xlm-roberta", "roberta.", roberta_settings, BERT),
        ("distilbert", "distilbert.", distilbert_settings, DISTILBERT),
        ("albert", "albert.", albert_settings, ALBERT),
        ("clip", "text_model.", clip_settings, CLIP),
        ("clip_text_model", "text_model.", clip_settings, CLIP),
    )
}
