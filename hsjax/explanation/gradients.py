"""Which words and parts of a picture an answer stands on, where the model reads them.

Integrated gradients (Sundararajan, Taly & Yan 2017, https://arxiv.org/abs/1703.01365):

    a_i = (x_i - b_i) * integral over t in 0..1 of dF(b + t (x - b)) / dx_i,

with F = log p(answer), x the embeddings of a text's tokens and the pixels of a picture,
and the baseline b a text of average tokens beside a grey picture. The sum of all a_i is
F(x) - F(b), by which the integral is checked.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hsjax.batch import IMAGE
from hsjax.explanation.asked import Asked, Batch
from hsjax.hierarchy import label_log_probs

STEPS = 24  # of the Gauss-Legendre rule
AT_ONCE = 4  # points of the integral that are in memory together
TABLES = ("token_embedding", "bag_embedding")  # of a text tower, a row for each token


class Attributions(NamedTuple):
    """Of one product.

    Attributes:
      tokens: stream -> (T,), 0 for special tokens and padding.
      pixels: (H, W), None where the model reads no raw picture.
      total: F(x) - F(b); missed: by how much their sum misses that.
    """

    tokens: dict[str, Float[np.ndarray, "T"]]
    pixels: Float[np.ndarray, "H W"] | None
    total: float
    missed: float


class Gradients:
    """`gradients(place)`: integrated gradients of a product that is asked about.

    A token's row of the embedding table is a parameter of the model. So every place of
    a text is given a token of its own, whose row is that of the token there: the
    gradient by this row is the one by the place.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked, config = asked, asked.run.config
        self.streams = dict(asked.run.spec.lengths)
        self.pictures = asked.run.spec.image is not None
        own = config.model.text
        self._tower = {s: s if s in own else "text" for s in self.streams}
        mean = np.array(config.model.image.mean, np.float32)
        self._grey = 255.0 * mean.reshape(1, 1, 1, 1, 3)
        self._program = jax.jit(functools.partial(_integrated, self._score))

    def __call__(self, place: int) -> Attributions:
        asked, one = self.asked, self.asked.one(place)
        batch, rows, base = self._with_own_tokens(place, one)
        inputs, start = {"rows": rows}, {"rows": base}
        if self.pictures:
            inputs["pixels"] = one[IMAGE].astype(np.float32)
            start["pixels"] = np.broadcast_to(self._grey, one[IMAGE].shape)
        batch["answer"] = asked.labels[place : place + 1]
        found, total = self._program(asked.params, asked.stats, batch, inputs, start)
        found, total = jax.tree.map(np.asarray, found), float(total)
        tokens = self._by_place(one, found["rows"])
        pixels = found["pixels"][0, 0].sum(axis=-1) if self.pictures else None
        pixels = None if pixels is None or not one["has_image"][0] else pixels
        every = sum(x.sum() for x in tokens.values())
        every += 0.0 if pixels is None else pixels.sum()
        return Attributions(tokens, pixels, total, float(total - every))

    def _with_own_tokens(self, place: int, one: Batch):
        """(batch, rows, baseline rows): a token of its own for each place of a text."""
        batch, first = dict(one), dict.fromkeys(self._tower.values(), 0)
        for stream, length in self.streams.items():
            start = first[self._tower[stream]]
            own = np.arange(start, start + length, dtype=np.int32)
            batch[f"{stream}_ids"] = own[None]
            first[self._tower[stream]] += length
        rows, base = {}, {}
        for tower in first:
            rows[tower], base[tower] = self._rows(tower, place, one)
        return batch, rows, base

    def _rows(self, tower: str, place: int, one: Batch):
        """{table: (places, D)} of the tokens that are there, and of the baseline."""
        streams = [s for s in self.streams if self._tower[s] == tower]
        ids = np.concatenate([one[f"{s}_ids"][0] for s in streams])
        words = [self.asked.examples.tokens[s].words[place] for s in streams]
        special = (np.concatenate(words) < 0)[:, None]
        tables = self.asked.params[tower]
        rows, base = {}, {}
        for name in TABLES:
            if name in tables:
                table = np.asarray(tables[name])
                rows[name] = table[ids]
                base[name] = np.where(special, rows[name], table.mean(axis=0))
        return rows, base

    def _by_place(self, one: Batch, rows) -> dict[str, np.ndarray]:
        found, first = {}, dict.fromkeys(self._tower.values(), 0)
        for stream, length in self.streams.items():
            tower = self._tower[stream]
            start = first[tower]
            own = sum(
                x.sum(axis=1)[start : start + length] for x in rows[tower].values()
            )
            found[stream] = np.where(one[f"{stream}_mask"][0], own, 0.0)
            first[tower] += length
        return found

    def _score(self, params, stats, batch, inputs):
        """log p(answer) with these rows in the tables, and these pixels."""
        params = dict(params)
        for tower, tables in inputs["rows"].items():
            params[tower] = dict(params[tower])
            for name, rows in tables.items():
                table = params[tower][name]
                params[tower][name] = table.at[: len(rows)].set(rows)
        pixels = {IMAGE: inputs["pixels"]} if self.pictures else {}
        outputs, _ = self.asked.run.model.apply(params, stats, {**batch, **pixels})
        labels = jnp.asarray(batch["answer"])
        return label_log_probs(outputs.logits, labels, self.asked.tree).sum()


def _integrated(score, params, stats, batch, inputs, start):
    """(attributions, F(x) - F(b)), the former like the inputs."""
    away = jax.tree.map(lambda x, b: x - b, inputs, start)

    def at(t):
        here = jax.tree.map(lambda b, d: b + t * d, start, away)
        return jax.grad(lambda x: score(params, stats, batch, x))(here)

    points, weights = np.polynomial.legendre.leggauss(STEPS)
    points = jnp.asarray((points + 1) / 2, jnp.float32)
    weights = jnp.asarray(weights / 2, jnp.float32)
    slopes = jax.lax.map(at, points, batch_size=AT_ONCE)
    mean = jax.tree.map(lambda g: jnp.tensordot(weights, g, axes=1), slopes)
    total = score(params, stats, batch, inputs) - score(params, stats, batch, start)
    return jax.tree.map(jnp.multiply, away, mean), total


def check_places(asked: Asked) -> bool:
    """Is a text tower's vocabulary as large as its texts are long together?"""
    config = asked.run.config
    longest: dict[str, int] = {}
    for stream, length in asked.run.spec.lengths:
        tower = stream if stream in config.model.text else "text"
        longest[tower] = longest.get(tower, 0) + length
    return all(
        length <= len(asked.params[tower][TABLES[0]])
        for tower, length in longest.items()
    )
