"""From a config to a catalogue that is ready to train on, and files to arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hsjax.batch import BatchSpec
from hsjax.data.columns import label_separator, model_columns, sees_pictures
from hsjax.data.edition_labels import in_own_edition
from hsjax.data.examples import Examples, batch_spec, make_examples
from hsjax.data.features import (
    EncodeMissing,
    features_of,
    stored_pictures,
    warn_of_components,
)
from hsjax.data.groups import group_facts, group_keys
from hsjax.data.held_out import hold_labels_out, hold_out, read_hold_out
from hsjax.data.nomenclature import (
    load_taxonomy,
    node_paths,
    read_names,
    tree_from_records,
)
from hsjax.data.quarantine import written_if_refused
from hsjax.data.rare_words import names_in
from hsjax.data.records import CatalogueError, Quarantine, Record, load_records
from hsjax.data.run_tokenizer import run_tokenizer
from hsjax.data.sources import SYNTHETIC
from hsjax.data.splits import LEFT_OUT, PARTS, assign_splits, manifest_of
from hsjax.data.stored_records import ends_of, selected
from hsjax.data.text import tokenize_streams
from hsjax.data.totals import has_text, record_facts
from hsjax.data.tree_labels import encode_sets, fit_labels, with_ends
from hsjax.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A catalogue with its parts, its tree and its tokenizer.

    Attributes:
      records: usable rows; parts: (N,) train | val | test | out; groups: (N,).
      labels: (N, L); outside: (N,) bool, labels that leave the tree; admissible:
        (N, S) numbers of nodes, S = 0 where no row has a set: see `encode_sets`.
      streams: text stream -> its columns.
      cut: code -> products of leaves that were cut as too rare.
      left_out: rows that `hold_out` left out, by their names for people.
      manifest: hash of the rows, their groups and parts: a resume needs the same.
    """

    records: Sequence[Record]
    parts: np.ndarray
    groups: np.ndarray
    tree: Taxonomy
    labels: np.ndarray
    outside: np.ndarray
    admissible: np.ndarray
    streams: Mapping[str, tuple[str, ...]]
    tokenizer: Tokenizer | None
    spec: BatchSpec
    quarantine: Quarantine
    cut: Mapping[str, int]
    left_out: Mapping[str, int]
    manifest: str

    def rows(self, *parts: str) -> np.ndarray:
        """Positions of the records of these parts."""
        return np.flatnonzero(np.isin(self.parts, parts))

    def facts(self) -> dict[str, int | float]:
        """Counts of rows and groups, by their names for people: see `record_facts`."""
        facts = record_facts(
            self.records,
            self.labels,
            self.outside,
            tree=self.tree,
            streams=self.streams,
            spec=self.spec,
            tokenizer=self.tokenizer,
            quarantine=self.quarantine,
        )
        facts |= {f"{part} rows": len(self.rows(part)) for part in PARTS}
        used = self.parts != LEFT_OUT
        return facts | self.left_out | group_facts(self.groups[used], self.parts[used])


def read_catalogue(
    config,
    *,
    source_run: Path | None = None,
    published: Path | None = None,
    flaws: Path | None = None,
) -> Catalogue:
    """Reads, groups, splits, builds the tree and the tokenizer.

    Args:
      source_run: workdir of a run to start from: its tokenizer is kept, as token ids
        have to mean the same.
      published: directory of the tokenizer that data.text.tokenizer=published means.
      flaws: file for the quarantine of a catalogue that is refused.

    Raises:
      CatalogueError: whatever a user can mend, in words.
    """
    quarantine = Quarantine()
    with written_if_refused(quarantine, flaws):
        sources = {"source_run": source_run, "published": published}
        return _read_catalogue(config, quarantine, **sources)


def _read_catalogue(config, quarantine, **sources) -> Catalogue:
    columns, pictures = model_columns(config), sees_pictures(config)
    asked = read_hold_out(config.data)  # a mistake there shows at once
    records, groups, parts = read_parts(config, quarantine)
    learnt = selected(records, np.flatnonzero(parts == "train"))
    tree, cut = make_tree(config, learnt)
    parts, left_out = hold_out(
        asked, records, groups, parts, tree=tree, quarantine=quarantine
    )
    records, bare = hold_labels_out(
        asked, records, groups, parts, quarantine=quarantine
    )
    training = selected(records, np.flatnonzero(parts == "train"))
    if not any(has_text(r, columns) or (pictures and r.image_key) for r in training):
        raise CatalogueError(
            f"{config.data.path}: no training row has anything of model.modalities"
        )
    records, labels, outside = fit_labels(
        records, tree, config=config, quarantine=quarantine, file=config.data.path
    )
    if (labels[parts == "train"] < 0).all():
        raise CatalogueError(f"no label of the training part is in the tree {tree!r}")
    admissible = encode_sets(records, tree)
    spec = replace(batch_spec(config, tree), admissible=admissible.shape[1])
    warn_of_components(config, records, parts, quarantine)
    return Catalogue(
        records=records,
        parts=parts,
        groups=groups,
        tree=tree,
        labels=labels,
        outside=outside,
        admissible=admissible,
        streams=config.data.text.streams.to_dict(),
        tokenizer=run_tokenizer(config, training, spec.streams, **sources),
        spec=spec,
        quarantine=quarantine,
        cut=cut,
        left_out=left_out | bare,
        manifest=manifest_of(records, parts, groups),
    )


def read_parts(
    config, quarantine: Quarantine
) -> tuple[Sequence[Record], np.ndarray, np.ndarray]:
    """(records, groups, parts): the labelled rows, and which part each belongs to.

    Nothing is held out yet: see `hold_out`.

    Raises:
      CatalogueError: whatever a user can mend, in words.
    """
    records = load_records(
        config.data,
        quarantine=quarantine,
        digits=tuple(config.taxonomy.digits),
        drop_repeats=True,
        pictures=sees_pictures(config),
        stored=stored_pictures(config),
        nodes=label_nodes(config),
    )
    records = in_own_edition(records, config, quarantine=quarantine, labelled=True)
    groups = group_keys(records)
    parts = assign_splits(records, groups, ends_of(records), config.data.split)
    return records, groups, parts


def make_tree(config, training: Sequence[Record]) -> tuple[Taxonomy, Mapping[str, int]]:
    """The tree of `config.taxonomy`, from a file or from the training rows."""
    separator = label_separator(config)
    if config.taxonomy.path:
        tree = load_taxonomy(config.taxonomy, separator=separator)
        return with_ends(tree, training) if config.taxonomy.stop == "data" else tree, {}
    names = read_names(config.taxonomy.names, separator)
    if config.data.path == SYNTHETIC:
        from hsjax.data.synthetic import names as synthetic_names

        names = synthetic_names() | names
    options = {"separator": separator, "names": names}
    return tree_from_records(training, config.taxonomy, **options)


def label_nodes(config, tree: Taxonomy | None = None) -> Mapping[str, tuple[str, ...]]:
    """What the codes of label_kind `node` mean; empty for the other kinds.

    Args:
      tree: of a run; None = read from taxonomy.path.

    Raises:
      CatalogueError: there is no tree to be read, or it has two nodes of one code.
    """
    if config.data.columns.label_kind != "node":
        return {}
    if tree is not None:
        return node_paths(tree)
    if not config.taxonomy.path:
        raise CatalogueError(
            "label_kind=node needs taxonomy.path, the tree of its codes"
        )
    return node_paths(load_taxonomy(config.taxonomy, separator=label_separator(config)))


def examples_of(
    config,
    records: Sequence[Record],
    *,
    tokenizer: Tokenizer | None,
    spec: BatchSpec,
    labels: np.ndarray,
    groups: np.ndarray,
    admissible: np.ndarray | None = None,
    encode: EncodeMissing | None = None,
) -> Examples:
    """Records as arrays, tokenized.

    Args:
      encode: see `features_of`; None = feature stores must hold everything.
    """
    streams = {s: config.data.text.streams[s] for s in spec.streams}
    lengths = dict(spec.lengths)
    tokens = tokenize_streams(records, tokenizer, streams=streams, lengths=lengths)
    dropped = streams if config.data.text.name_drop else {}
    names = {s: names_in(records, c, lengths[s]) for s, c in dropped.items()}
    return make_examples(
        records,
        tokens,
        names=names,
        spec=spec,
        labels=labels,
        admissible=admissible,
        group=groups,
        config_image=config.data.image,
        features=features_of(config, records, encode=encode),
    )
