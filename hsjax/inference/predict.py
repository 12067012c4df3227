"""A trained run, loaded from its workdir alone, answers for any records."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer

from hsjax.batch import BatchSpec
from hsjax.data.buckets import answered_lengths
from hsjax.data.columns import model_columns
from hsjax.data.cost_file import costs_of_run
from hsjax.data.features import EncodeMissing
from hsjax.data.groups import group_keys
from hsjax.data.prepare import batch_spec, examples_of
from hsjax.data.records import CatalogueError, Record
from hsjax.data.run_stores import located
from hsjax.data.tree_labels import encode_labels
from hsjax.evaluation.answer import PREFIX, make_answer
from hsjax.evaluation.collect import (
    collect_predictions,
    describe_rows,
    without_classes,
)
from hsjax.evaluation.feed import Feed
from hsjax.evaluation.predictions import Predictions
from hsjax.evaluation.tree_calibration import TreeCalibration
from hsjax.features.labels import kept_labels
from hsjax.features.live import encode_missing
from hsjax.inference.calibration import NONE, kept_calibration
from hsjax.inference.parameters import best_parameters, read_tokenizer, vocabulary
from hsjax.inference.products import check_records, read_products
from hsjax.models.build import Model, build_model
from hsjax.sharding import jit_whole, make_mesh
from hsjax.taxonomy import Taxonomy
from hsjax.train.config import read_config
from hsjax.train.devices import set_up_jax
from hsjax.train.kept import kept_published, kept_stores
from hsjax.tree.costs import PairCosts


class Run(NamedTuple):
    """A trained model with all it needs to answer.

    Attributes:
      step: of the checkpoint; params, stats: of the best one.
      answer: `answer(params, stats, batch, **asked)`, see `make_answer`, compiled at
        the first batch and then kept.
      costs: of mistakes, which `cost` answers by; None = that is not asked.
      calibration: of all probabilities; None = they are as the model states them.
    """

    config: ConfigDict
    tree: Taxonomy
    tokenizer: Tokenizer | None
    spec: BatchSpec
    model: Model
    step: int
    params: dict
    stats: dict
    answer: Callable
    costs: PairCosts | None = None
    calibration: TreeCalibration | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Of text that it reads."""
        return model_columns(self.config)

    def records(
        self,
        source: Path | str | Iterable[Mapping],
        *,
        image_root: Path | str = "",
        quarantine: Path | str | None = None,
    ) -> Sequence[Record]:
        """Products of a catalogue file, or of dicts {column: value}, to be predicted.

        The columns are those of the run; labels are not needed. See `read_products` for
        the arguments.

        Raises:
          CatalogueError: an unreadable file, a missing text column, no usable row.
        """
        return read_products(
            self.config,
            self.tree,
            source,
            image_root=image_root,
            quarantine=quarantine,
        )

    def predict(
        self,
        records: Sequence,
        *,
        groups: np.ndarray | None = None,
        confidence: float | np.ndarray | None = None,
        prefixes: np.ndarray | None = None,
        progress: str = "",
        encode: EncodeMissing = encode_missing,
        **beside,
    ) -> Predictions:
        """Answers for every record, in order; with blanks where no head was trained.

        A run on cached features encodes what its stores lack, and stores nothing.

        Args:
          records: what `records` gives.
          groups: (N,) for intervals and retrieval; None = computed from the records.
          confidence: also answer with the deepest node of at least this probability, in
            `Predictions.confident`; above 0.5 there is only one. An array: of least
            probabilities of each level before any isotonic map.
          prefixes: (N, L) ids of what is known of the path already, -1 below it.
          progress: what the progress bar says, '' = none.
          encode: makes what feature stores lack, see `features_of`.
          beside: set_least, stakes of `make_answer`; found in `Predictions.asked`.

        Raises:
          CatalogueError: there are no records, or something else was given.
          ValueError: the confidence is no probability above 0.
        """
        check_records(records)
        config, tree, asked = self.config, self.tree, self._asked(confidence) | beside
        outside = encode_labels(records, tree)[1]
        groups = group_keys(records) if groups is None else groups
        fed = {"groups": groups, "prefixes": prefixes, "encode": encode}
        told = {"groups": groups, "outside": outside, "levels": tree.num_levels}
        predictions, _ = collect_predictions(
            lambda batch: self.answer(self.params, self.stats, batch, **asked),
            self.feed(records, buckets=answered_lengths(self.spec), **fed),
            rows=describe_rows(records, **told),
            tree=tree,
            main=config.eval.decode,
            costs=self.costs,
            told=progress,
        )
        if not config.objective.classification:
            return without_classes(predictions)
        known = self.calibration
        return known.mapped(predictions) if known else predictions

    def _asked(self, confidence: float | np.ndarray | None) -> dict:
        """What goes to `answer` beside the batch: arrays, so that one program does."""
        known, asked = self.calibration, {}
        if known is not None:
            asked["temperatures"] = np.array(known.temperature, np.float32)
        if confidence is None:
            return asked
        if np.ndim(confidence) == 0:
            if not 0 < confidence <= 1:
                raise ValueError(f"confidence is {confidence}; it lies in 0 < p <= 1")
            confidence = known.least_stated(confidence) if known else confidence
        return asked | {"confidence": np.asarray(confidence, np.float32)}

    def feed(
        self,
        records: Sequence[Record],
        *,
        groups: np.ndarray,
        prefixes: np.ndarray | None = None,
        encode: EncodeMissing = encode_missing,
        buckets: Sequence[int] = (),
    ) -> Feed:
        """The batches of records, as the model takes them; see `predict` and `Feed`."""
        examples = examples_of(
            self.config,
            records,
            labels=encode_labels(records, self.tree)[0],
            groups=groups,
            tokenizer=self.tokenizer,
            spec=self.spec,
            encode=encode,
        )
        beside = {} if prefixes is None else {PREFIX: prefixes.astype(np.int32)}
        mesh = make_mesh()
        return Feed(self.config, examples, mesh, beside=beside, buckets=buckets)


def run_config(
    workdir: Path | str, features: Mapping[str, Path | str] = MappingProxyType({})
) -> ConfigDict:
    """The config of a workdir, its feature stores where they lie now; see `load_run`.

    Raises:
      WorkdirError: no workdir of a run.
      CatalogueError: a feature store is gone, or is not the one of the run.
    """
    workdir, places = Path(workdir), {m: str(folder) for m, folder in features.items()}
    config = read_config(workdir)
    return located(config, kept_stores(workdir), places, workdir=workdir)


def load_run(
    workdir: Path | str,
    *,
    features: Mapping[str, Path | str] = MappingProxyType({}),
    answering: bool = True,
    cost_matrix: Path | str = "",
    calibration: Path | str = NONE,
    decode: str = "",
) -> Run:
    """The best checkpoint of a workdir; jax is set up as its config says.

    Args:
      features: modality -> folder, of feature stores that have moved.
      answering: False = parameters alone are wanted: feature stores may be gone.
      cost_matrix: file of costs of mistakes, see `read_costs`; '' = the run's own.
      calibration: of `calibration_path`; decode: the answer, '' = by the run's own.

    Raises:
      WorkdirError: no workdir of a run.
      FileNotFoundError: no checkpoint yet.
      CatalogueError: a baseline, a store that is gone or is another, costs or a
        calibration that cannot be read, or one of another model.
    """
    workdir = Path(workdir)
    config = run_config(workdir, features) if answering else read_config(workdir)
    if config.task == "baseline":
        told = "a baseline, which keeps no model: hsjax.evaluate asks it"
        raise CatalogueError(f"{workdir} is {told}")
    with config.unlocked():
        config.eval.decode = decode or config.eval.decode
    set_up_jax(config)
    tree = Taxonomy.load(workdir / "taxonomy.json")
    tokenizer = read_tokenizer(workdir)
    stores = kept_stores(workdir).items()
    spec = batch_spec(config, tree, {m: x["facts"]["shape"] for m, x in stores})
    model = build_model(
        config,
        spec,
        tree,
        vocab_size=vocabulary(tokenizer),
        published=kept_published(workdir),
        labels=kept_labels(workdir, tree) if config.model.head.labels else None,
    )
    step, params, stats = best_parameters(workdir, config, model, spec)
    costs = costs_of_run(config, tree, workdir, cost_matrix)
    asked = {"main": config.eval.decode, "topk": config.eval.topk, "costs": costs}
    answer = jit_whole(make_answer(model.apply, tree, **asked), make_mesh())
    fitted = (step, params, stats, answer, costs)
    fitted += (kept_calibration(workdir, calibration, step, (params, stats)),)
    return Run(config, tree, tokenizer, spec, model, *fitted)
