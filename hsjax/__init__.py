"""hsjax: cross-modal, hierarchical product classification in JAX.

Shape letters, used everywhere:

    B examples of a batch      N records of a catalogue     V views of a picture
    T tokens of a text         P patches of a picture       D width of an encoder
    E width of the joint space F width of the fused vector  M modalities
    L levels of the taxonomy   C classes of one level       K clusters, or answers kept

Arrays count levels from 0 (coarsest); every name that a user sees counts from 1.
"""

__version__ = "0.1.0"


def load(workdir, *, features=None, cost_matrix="", calibration=""):
    """The best checkpoint of a workdir as a `hsjax.inference.predict.Run`.

    `run.predict(run.records("new.csv"))` answers for the products of a file.

    Args:
      features: {modality: folder} of feature stores that have moved since training.
      cost_matrix: file of costs of mistakes (predicted,true,cost) that answers have
        the least expected cost by, as `decoded["cost"]`; '' = the run's own.
      calibration: a calibration.json, or `none`: probabilities as the model states
        them; '' = that of the workdir, where hsjax.calibrate has left one.

    Raises:
      WorkdirError: no workdir of a run.
      FileNotFoundError: no checkpoint yet.
      CatalogueError: a feature store is gone, or is not the one of the run; costs
        or a calibration that cannot be read.
    """
    # imported here, as it imports jax
    from hsjax.inference.predict import load_run

    files = {"cost_matrix": cost_matrix, "calibration": calibration}
    return load_run(workdir, features=features or {}, **files)


def load_artefact(folder):
    """A folder of `python -m hsjax.export --artefact` as an `Artefact`.

    `load_artefact(folder).predict([{"title": "red boots"}])` answers, without config,
    flax or any other code that trained the run.

    Raises:
      ArtefactError: it is no artefact, is not whole, or is for other platforms.
    """
    from hsjax.artefact.loaded import open_artefact

    return open_artefact(folder)
