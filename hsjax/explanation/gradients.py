"""Which words and parts of a picture an answer stands on, where the model reads them.

Of words, integrated gradients (Sundararajan, Taly & Yan 2017, https://arxiv.org/abs/
1703.01365):

    a_i = (x_i - b_i) * integral over t in 0..1 of dF(b + t (x - b)) / dx_i,

with F = log p(answer), x the embeddings of all tokens and b, the baseline, average
tokens in their place; all else stays as it is. The a_i add up to F(x) - F(b), by which
the integral is checked. Of a picture, the gradient times the distance of a pixel from
grey: the integral from a grey picture would say little, as the norms within an encoder
blow up the faintest contrast, so that F jumps beside it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hsjax.batch import IMAGE
from hsjax.explanation.asked import Asked, Batch
from hsjax.hierarchy import label_log_probs

STEPS = 24  # of the Gauss-Legendre rule on each part of the way
PARTS = (1, 4, 16)  # of the way from b to x, as many as it takes
MISSED = 0.01  # of F(x) - F(b), and in nats: near enough
AT_ONCE = 4  # points of the integral that are in memory together
TABLES = ("token_embedding", "bag_embedding")  # of a text tower, a row for each token


class Attributions(NamedTuple):
    """Of one product.

    Attributes:
      tokens: stream -> (T,), 0 for special tokens and padding; not of every stream.
      pixels: (H, W), None where the model reads no raw picture, or there is none.
      total: F(x) - F(b) of the tokens; missed: by how much their sum misses that.
    """

    tokens: dict[str, Float[np.ndarray, "T"]]
    pixels: Float[np.ndarray, "H W"] | None
    total: float
    missed: float


class Gradients:
    """`gradients(place)`: the attributions of a product that is asked about.

    A token's row of the embedding table is a parameter of the model. So every place of
    a text is given a token of its own, whose row is that of the token there: the
    gradient by this row is the one by the place. A tower whose vocabulary is smaller
    than its texts are long has no rows for that: its streams are left out.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked, spec = asked, asked.run.spec
        own = asked.run.config.model.text
        towers: dict[str, list[str]] = {}
        for stream, _ in spec.lengths:
            towers.setdefault(stream if stream in own else "text", []).append(stream)
        # of each tower its streams, one behind the other, and where each begins
        lengths = dict(spec.lengths)
        self._spans: dict[str, dict[str, slice]] = {}
        for tower, streams in towers.items():
            ends = np.cumsum([0, *(lengths[s] for s in streams)]).tolist()
            if ends[-1] <= len(asked.params[tower][TABLES[0]]):
                pairs = zip(streams, ends, ends[1:], strict=False)
                self._spans[tower] = {s: slice(a, b) for s, a, b in pairs}
        mean = np.array(asked.run.config.model.image.mean, np.float32)
        self._grey = 255.0 * mean.reshape(1, 1, 1, 1, 3)
        self._gain = jax.jit(self._score)
        self._along = jax.jit(self._summed)
        self._slope = jax.jit(jax.grad(self._score, argnums=4))

    def __call__(self, place: int) -> Attributions:
        one = self.asked.one(place)
        batch = {**one, "answer": self.asked.labels[place : place + 1]}
        model = self.asked.params, self.asked.stats
        tokens, total, missed = {}, 0.0, 0.0
        if self._spans:
            own, rows, base = self._with_own_tokens(place, one)
            given = (*model, {**batch, **own})
            total = float(self._gain(*given, rows) - self._gain(*given, base))
            for parts in PARTS:
                slopes = self._slopes(given, rows, base, parts)
                tokens = self._by_place(one, slopes, rows, base)
                missed = total - float(sum(x.sum() for x in tokens.values()))
                if abs(missed) <= MISSED * (1 + abs(total)):
                    break
        return Attributions(tokens, self._pixels(one, batch), total, missed)

    def _slopes(self, given, rows, base, parts: int):
        """The mean gradient along the way, of which each part has its own points."""
        points, weights = np.polynomial.legendre.leggauss(STEPS)  # of -1..1
        starts = np.arange(parts)[:, None]
        points = ((points + 1) / 2 + starts) / parts
        found = [
            self._along(*given, rows, base, t, weights / 2 / parts)
            for t in points.astype(np.float32)
        ]
        return jax.tree.map(lambda *x: np.sum(x, axis=0), *found)

    def _pixels(self, one: Batch, batch: Batch) -> np.ndarray | None:
        if IMAGE not in one or not one["has_image"][0]:
            return None
        seen = one[IMAGE].astype(np.float32)
        slope = self._slope(self.asked.params, self.asked.stats, batch, {}, seen)
        return (np.asarray(slope) * (seen - self._grey))[0, 0].sum(axis=-1)

    def _with_own_tokens(self, place: int, one: Batch):
        """(ids, rows, baseline rows): a token of its own for each place of a text."""
        ids, rows, base = {}, {}, {}
        for tower, spans in self._spans.items():
            for stream, span in spans.items():
                own = np.arange(span.start, span.stop, dtype=np.int32)
                ids[f"{stream}_ids"] = own[None]
            there = np.concatenate([one[f"{s}_ids"][0] for s in spans])
            words = [self.asked.examples.tokens[s].words[place] for s in spans]
            special = (np.concatenate(words) < 0)[:, None]
            tables = self.asked.params[tower]
            tables = {n: np.asarray(tables[n]) for n in TABLES if n in tables}
            rows[tower] = {name: table[there] for name, table in tables.items()}
            base[tower] = {
                name: np.where(special, table[there], table.mean(axis=0))
                for name, table in tables.items()
            }
        return ids, rows, base

    def _by_place(self, one: Batch, slopes, rows, base) -> dict[str, np.ndarray]:
        """(x - b) times the slopes, summed over tables and width."""
        found = jax.tree.map(lambda g, x, b: g * (x - b), slopes, rows, base)
        tokens = {}
        for tower, spans in self._spans.items():
            sums = sum(x.sum(axis=1) for x in found[tower].values())
            for stream, span in spans.items():
                tokens[stream] = np.where(one[f"{stream}_mask"][0], sums[span], 0.0)
        return tokens

    def _score(self, params, stats, batch, rows, pixels=None):
        """log p(answer) with these rows in the tables, and these pixels."""
        params = dict(params)
        for tower, tables in rows.items():
            params[tower] = dict(params[tower])
            for name, own in tables.items():
                table = params[tower][name]
                params[tower][name] = table.at[: len(own)].set(own)
        batch = batch if pixels is None else {**batch, IMAGE: pixels}
        logits = self.asked.logits(params, stats, batch)
        labels = jnp.asarray(batch["answer"])
        return label_log_probs(logits, labels, self.asked.tree).sum()

    def _summed(self, params, stats, batch, rows, base, points, weights):
        """Weighted sum of the gradients at these points between b, 0, and x, 1."""

        def at(t):
            here = jax.tree.map(lambda x, b: b + t * (x - b), rows, base)
            return jax.grad(self._score, argnums=3)(params, stats, batch, here)

        slopes = jax.lax.map(at, points, batch_size=AT_ONCE)
        weights = weights.astype(jnp.float32)
        return jax.tree.map(lambda g: jnp.tensordot(weights, g, axes=1), slopes)
