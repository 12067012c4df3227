"""The frozen encoder of a feature store as a part of an artefact's program."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import IMAGE
from hsjax.data.features import stores_of
from hsjax.data.quarantine import CatalogueError
from hsjax.data.store import store_facts
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.features.reduce import load_reduction
from hsjax.features.store_encoder import store_model
from hsjax.inference.export_towers import side_of
from hsjax.models.one_tower import families_of
from hsjax.models.published_files import PublishedError
from hsjax.models.published_weights import load_parameters


class StoredEncoder(NamedTuple):
    """What makes the vectors of a store.

    Attributes:
      variables: its parameters, with the components of the store where it has some.
      apply: apply(variables of the module, *inputs) -> (B, D) or (B, T, D).
      facts: of store.json.
      tokenizer: of a text encoder.
    """

    variables: Mapping
    apply: Callable
    facts: Mapping
    tokenizer: Tokenizer | None


def stored_encoders(config, workdir: Path) -> dict[str, StoredEncoder]:
    """Modality -> encoder, of the modalities that a run knows as features.

    Raises:
      CatalogueError: an encoder is not at hand, or is another by now; says what to do.
    """
    found = {}
    for modality, folder in stores_of(config).items():
        try:
            found[modality] = _encoder(Path(folder), modality)
        except (PublishedError, CatalogueError) as error:
            raise CatalogueError(
                f"{workdir} was trained on features of its {modality}, and an artefact"
                f" holds their encoder, too, as a user sends no features: {error}."
                f" Bring the encoder back, or name a store that knows its place by"
                f" --features={modality}=DIR"
            ) from None
    return found


def _encoder(folder: Path, modality: str) -> StoredEncoder:
    facts, side = store_facts(folder), side_of(modality)
    published = store_model(folder, facts, side)
    family = families_of(side)[facts["family"]]
    settings, params, stats = load_parameters(family, published)
    settings |= {"pool": facts["pool"]}
    module = family.module(**settings, dtype=jnp.dtype(facts["compute"]))
    variables = {"module": {"params": params, **({"stats": stats} if stats else {})}}
    if reduction := load_reduction(folder):
        variables["reduction"] = reduction._asdict()
    tokenizer = None
    if modality != IMAGE:
        tokenizer = load_tokenizer(str(published.directory))

    def apply(variables, *inputs):
        return module.apply(variables, *inputs, training=False)

    return StoredEncoder(variables, apply, facts, tokenizer)


def encoded(
    encoder: StoredEncoder, variables: Mapping, here: jax.Array, *raw: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """(features, mask or None) as a store gives them, of what is `here`.

    Args:
      raw: ids and mask of texts, or (B, 1, H, W, 3) pixels.
    """
    facts, mask = encoder.facts, None
    if len(raw) == 1:
        found = encoder.apply(variables["module"], *_seen(facts, raw[0][:, 0], here))
    else:
        found = encoder.apply(variables["module"], *raw)
    if found.ndim == 3:
        mask = jnp.broadcast_to(here[:, None], found.shape[:2])
        mask = mask & raw[1] if len(raw) > 1 else mask
    found = found.astype(facts["dtype"]).astype(jnp.float32)
    if reduction := variables.get("reduction"):
        moved = found - reduction["mean"].reshape((1,) * (found.ndim - 1) + (-1,))
        found = jnp.matmul(
            moved, reduction["components"], precision=jax.lax.Precision.HIGHEST
        )
        found = found.astype(facts["dtype"]).astype(jnp.float32)
    return found, mask


def _seen(facts: Mapping, pixels: jax.Array, here: jax.Array) -> tuple:
    """Normalised as `picture_encoder` does, with the weight of each."""
    look = facts["preprocessing"]
    mean, std = (
        np.array(look[k], np.float32).reshape(1, 1, 1, 3) for k in ("mean", "std")
    )
    scaled = (pixels.astype(jnp.float32) / 255.0 - mean) / std
    return scaled, here.astype(jnp.float32)
