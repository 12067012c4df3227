"""Is a config one by which new sub-categories can be found?"""

from hsjax.batch import IMAGE
from hsjax.settings.choices import check_stream, check_tables, check_word, refuse
from hsjax.train.workdir import ConfigError


def check_recategorize(config) -> None:
    """Looks at the group `recategorize`, and at the texts that names are taken from.

    Raises:
      ConfigError: what it asks for is not there.
    """
    c = config.recategorize
    check_tables(config, "recategorize.")
    _check_vectors(config)
    data = config.data
    held_out = (data.leave_out, data.train_share < 1, data.shots, data.label_share < 1)
    refuse(
        [
            (not c.branch, "recategorize.branch is empty: name the code of a node"),
            (
                any(held_out),
                "data.leave_out, train_share, shots and label_share say what a model is"
                " not to learn from, and mean nothing to task=recategorize: leave them",
            ),
            (
                c.truth and c.keep and c.truth <= c.keep,
                f"recategorize.truth={c.truth} is not hidden by recategorize.keep="
                f"{c.keep}: a level below is",
            ),
            (
                c.truth and not c.keep,
                "recategorize.truth without recategorize.keep: nothing is hidden, and"
                " clusters would be judged by labels that they were made within",
            ),
            (
                c.method in ("known_k_means", "parametric") and not c.truth,
                f"recategorize.method={c.method} is told some hidden classes: give"
                " their level in recategorize.truth",
            ),
            (
                c.choice != "silhouette" and not c.resamples and not c.clusters,
                f"recategorize.choice={c.choice} needs recategorize.resamples",
            ),
            (
                c.clusters and len(c.clusters) < c.levels,
                f"recategorize.clusters={tuple(c.clusters)} has fewer numbers than"
                f" recategorize.levels={c.levels}",
            ),
            (
                c.method != "cascade" and c.levels > 1,
                f"recategorize.method={c.method} has one level: set"
                " recategorize.levels=1",
            ),
        ]
    )


def _check_vectors(config) -> None:
    """ConfigError: products, or names of a vocabulary, would have no vectors."""
    streams, stores = config.data.text.streams, config.data.features.to_dict()
    for modality in config.model.modalities:
        check_word("model.modalities", modality, (*streams, IMAGE))
        if modality != IMAGE:
            check_stream(config, modality)
        if not (stores.get(modality) or config.recategorize.joint):
            raise ConfigError(
                f"no vectors of {modality}: name its feature store in"
                f" data.features.{modality} (see task=extract), or an aligned run in"
                " recategorize.joint, or leave it out of model.modalities"
            )
    refuse(
        [
            (not config.model.modalities, "model.modalities is empty: name one"),
            (
                config.recategorize.vocabulary and not named_stream(config),
                "recategorize.vocabulary needs the store of a text in data.features,"
                " whose encoder reads the names",
            ),
        ]
    )


def named_stream(config) -> str:
    """The first text stream that has a feature store, '' = none."""
    stores = config.data.features.to_dict()
    return next((s for s in config.data.text.streams if stores.get(s)), "")
