"""The schema of a batch: names, dtypes and shapes of a flat dict of arrays.

{stream}_ids    (B, T) int32   tokens of a text stream, 0 = padding
{stream}_mask   (B, T) bool    True = a token
image           (B, V, H, W, 3) uint8
{modality}_features (B, D) or (B, T, D) float32, in place of the raw modality
{modality}_mask     (B, T) bool beside (B, T, D) features; True = a token or patch
has_{modality}  (B,) bool      is the modality there? its content is ignored otherwise
labels          (B, L) int32   node ids, -1 = none at this level
admissible      (B, S) int32   numbers of the nodes of which one is right, -1 = padding:
                               the id of a node + the sizes of all coarser levels, STOP
                               children included; none lies below another. A row of -1
                               has its `labels` alone; the others share `labels`. Only
                               where some row of the catalogue has such a set
group           (B,) int32     equal for the same product listed twice
weight          (B,) float32   0 = padding
index           (B,) int32     position in its part of the split, -1 = padding
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

IMAGE = "image"

Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class BatchSpec:
    """Static shapes of every batch of a run.

    Attributes:
      lengths: tokens of each text stream, in order: (("title", 32), ...).
      image: (V, H, W), or None without pictures.
      levels: L.
      features: (modality, shape of one item) of those that come from a feature store.
      admissible: S, 0 = no row has a set.
    """

    lengths: tuple[tuple[str, int], ...]
    image: tuple[int, int, int] | None
    levels: int
    features: tuple[tuple[str, tuple[int, ...]], ...] = ()
    admissible: int = 0

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(stream for stream, _ in self.lengths)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Text streams, the image, then what comes as features."""
        raw = self.streams + ((IMAGE,) if self.image else ())
        return raw + tuple(modality for modality, _ in self.features)

    def shapes(self, rows: int) -> dict[str, tuple[tuple[int, ...], type]]:
        """Name -> (shape, dtype) of a batch of so many rows."""
        shapes = {}
        for stream, length in self.lengths:
            shapes[f"{stream}_ids"] = (rows, length), np.int32
            shapes[f"{stream}_mask"] = (rows, length), np.bool_
        if self.image:
            shapes[IMAGE] = (rows, *self.image, 3), np.uint8
        for modality, shape in self.features:
            shapes[f"{modality}_features"] = (rows, *shape), np.float32
            if len(shape) > 1:
                shapes[f"{modality}_mask"] = (rows, shape[0]), np.bool_
        for modality in self.modalities:
            shapes[f"has_{modality}"] = (rows,), np.bool_
        shapes["labels"] = (rows, self.levels), np.int32
        if self.admissible:
            shapes["admissible"] = (rows, self.admissible), np.int32
        shapes["group"] = (rows,), np.int32
        shapes["weight"] = (rows,), np.float32
        shapes["index"] = (rows,), np.int32
        return shapes

    def cut(self, length: int) -> "BatchSpec":
        """With texts of at most so many tokens."""
        lengths = tuple((name, min(own, length)) for name, own in self.lengths)
        return replace(self, lengths=lengths)

    def padding(self, rows: int) -> dict[str, np.ndarray]:
        """Rows of weight 0 that hold nothing."""
        batch = {k: np.zeros(shape, d) for k, (shape, d) in self.shapes(rows).items()}
        for name in batch.keys() & {"labels", "admissible"}:
            batch[name] -= 1
        batch["index"] -= 1
        return batch

    def check(self, batch: Batch) -> None:
        """Raises ValueError where names, shapes or dtypes differ from this schema."""
        rows = len(batch["weight"])
        expected = self.shapes(rows)
        if batch.keys() != expected.keys():
            wrong = sorted(batch.keys() ^ expected.keys())
            raise ValueError(f"the batch has or lacks {wrong}")
        for name, (shape, dtype) in expected.items():
            got = batch[name].shape, batch[name].dtype
            if got != (shape, np.dtype(dtype)):
                raise ValueError(f"{name} is {got}, expected {(shape, dtype)}")
