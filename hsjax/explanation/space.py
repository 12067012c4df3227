"""The space in which products are near one another, as a run has it."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hsjax.batch import IMAGE
from hsjax.inference.predict import Run
from hsjax.models.build import Outputs

SIDES = ("text", IMAGE, "joint")
EMBEDDINGS = "joint embeddings of the contrastive loss"
FUSED = "fused vectors, less that of a product with nothing"


def space_of(run: Run) -> str:
    """Which vectors stand for products: see `make_vectors`."""
    return EMBEDDINGS if run.config.objective.contrastive else FUSED


def sides_of(run: Run) -> tuple[str, ...]:
    """What products can be near by: text, image, and both where there are both."""
    streams = [m for m in run.spec.modalities if m != IMAGE]
    pictures = IMAGE in run.spec.modalities
    if streams and pictures:
        return SIDES
    return ("text",) if streams else (IMAGE,)


def make_vectors(run: Run) -> Callable:
    """`vectors(params, stats, batch) -> {side: (B, D) unit length}`, to be jitted.

    Of a contrastive run they are its embeddings, which text and picture share, and
    jointly the direction of their sum. Of another one, what the head reads of a product
    of which that side alone is there, less what it reads of a product with nothing:
    the model's own features, each as fusion weighs it. 0 where a side is absent.
    """
    own = _embedded if space_of(run) == EMBEDDINGS else _fused
    names, sides = run.spec.modalities, sides_of(run)

    def vectors(params, stats, batch):
        there = {
            "text": [batch[f"has_{m}"] for m in names if m != IMAGE],
            IMAGE: [batch[f"has_{m}"] for m in names if m == IMAGE],
            "joint": [batch[f"has_{m}"] for m in names],
        }
        found = own(lambda x: run.model.apply(params, stats, x)[0], batch, sides)
        return {
            side: jnp.where(_any(there[side])[:, None], _unit(x), 0.0)
            for side, x in found.items()
        }

    return vectors


def _any(masks):
    return jnp.stack(masks).any(axis=0)


def _unit(x: Float[Array, "B D"]) -> Float[Array, "B D"]:
    length = jnp.sqrt(jnp.square(x).sum(axis=1, keepdims=True))
    return x / jnp.maximum(length, 1e-12)


def _embedded(say: Callable, batch, sides) -> dict[str, Float[Array, "B D"]]:
    outputs: Outputs = say(batch)
    found = {"text": outputs.text, IMAGE: outputs.image}
    if "joint" in sides:
        here = batch["has_image"][:, None]
        found["joint"] = outputs.text + jnp.where(here, outputs.image, 0.0)
    return {side: found[side] for side in sides}


def _fused(say: Callable, batch, sides) -> dict[str, Float[Array, "B D"]]:
    masks = {name: x for name, x in batch.items() if name.startswith("has_")}
    nothing = {name: jnp.zeros_like(x) for name, x in masks.items()}
    shown = {
        "text": {n: x for n, x in masks.items() if n != "has_image"},
        IMAGE: {n: x for n, x in masks.items() if n == "has_image"},
        "joint": masks,
    }
    zero = say({**batch, **nothing}).fused
    return {
        side: say({**batch, **nothing, **shown[side]}).fused - zero for side in sides
    }


def as_stored(x: np.ndarray) -> Float[np.ndarray, "N D"]:
    """In the 2 bytes a number that are kept."""
    return np.asarray(x, np.float16)
