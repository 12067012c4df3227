"""What a trained run makes of the texts of its classes, and how far that carries."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from hsjax.batch import IMAGE
from hsjax.data.records import CatalogueError, Record
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.zero_shot import (
    KINDS,
    zero_shot,
    zero_shot_classes,
    zero_shot_table,
)
from hsjax.inference.predict import Run
from hsjax.taxonomy import Taxonomy

log = logging.getLogger("hsjax")


class LabelVectors(NamedTuple):
    """Where a run puts the texts of its classes.

    Attributes:
      classes: codes of C nodes, see `zero_shot_classes`.
      vectors: of unit length, see `text_embeddings`.
    """

    classes: Shaped[np.ndarray, "C"]
    vectors: Float[np.ndarray, "C E"]


def check_zero_shot(run: Run | None, kind: str) -> None:
    """Can this run be asked for zero-shot figures? '' = it is not asked.

    Raises:
      CatalogueError: an unknown kind, a baseline (None), a run without text, a tree
        without names.
    """
    if kind and kind not in KINDS:
        raise CatalogueError(f"--zero_shot={kind}: known are {', '.join(KINDS)}")
    if kind and (run is None or not text_streams(run)):
        raise CatalogueError(
            "--zero_shot needs a trained model that reads text: label texts go through"
            " its text tower"
        )
    if kind:
        check_names(run.tree)


def check_names(tree: Taxonomy) -> None:
    """Codes alone tell a text tower nothing: warns where some classes have no name.

    Raises:
      CatalogueError: none has.
    """
    codes, texts = zero_shot_classes(tree, kind="name")
    bare = [c for c, text in zip(codes.tolist(), texts, strict=True) if c == text]
    if tree.separator or not bare:
        return
    mend = "name them by taxonomy.names=FILE.csv (code,name) and train anew"
    if len(bare) == len(texts):
        raise CatalogueError(f"--zero_shot: the classes have no names: {mend}")
    log.warning("%d of %d classes have no name: %s", len(bare), len(texts), mend)


def text_streams(run: Run) -> list[str]:
    """The text streams that the model of a run reads, in order."""
    return [m for m in run.config.model.modalities if m != IMAGE]


def text_embeddings(run: Run, texts: Sequence[str]) -> Float[np.ndarray, "N E"]:
    """Unit-length vectors of texts by the run's own text tower and projection.

    They take the place of its first text stream, all else is absent. Where that is on
    cached features, the store's encoder runs.

    Raises:
      CatalogueError: that encoder is not where it was.
    """
    column = run.config.data.text.streams[text_streams(run)[0]][0]
    records = text_records(texts, column)
    answers = run.predict(records, groups=np.arange(len(records)))
    return answers.embeddings["text"]


def text_records(texts: Sequence[str], column: str) -> list[Record]:
    """Products that have nothing but a text, in this column."""
    return [
        Record(
            row=i + 1,
            id=str(i + 1),
            texts={column: text},
            image=None,
            image_key="",
            path=(),
            complete=False,
            group="",
            platform="",
            date="",
            split="",
            extra={},
        )
        for i, text in enumerate(texts)
    ]


def label_vectors(run: Run, kind: str) -> LabelVectors:
    """What `zero_shot_results` compares products with: embedded once for all parts.

    Args:
      kind: see `zero_shot_classes`.

    Raises:
      CatalogueError: see `text_embeddings`.
    """
    classes, texts = zero_shot_classes(run.tree, kind=kind)
    return LabelVectors(classes, text_embeddings(run, texts))


def zero_shot_results(
    run: Run, predictions: Predictions, labels: LabelVectors
) -> tuple[dict[str, float], str]:
    """(metrics, table for the report) of leaves found by label text.

    The vector of texts is called by its stream where the model reads but one.

    Args:
      predictions: of the run, with embeddings.
    """
    streams = text_streams(run)
    names = {"text": streams[0] if len(streams) == 1 else "text", IMAGE: IMAGE}
    vectors = {names[k]: v for k, v in predictions.embeddings.items()}
    metrics = zero_shot(
        predictions,
        vectors,
        labels.vectors,
        labels.classes,
        bootstrap=run.config.eval.bootstrap,
    )
    return metrics, zero_shot_table(metrics, [*vectors])
