"""Saves a trained run for other programs: its encoders, or all of it.

Its encoders go into Hugging Face's layout: a run on texts and pictures gives a pair,
one with a single tower that encoder. With --artefact the whole run becomes a folder
that `hsjax.load_artefact` answers from without the code that trained it.

python -m hsjax.export --run=WORKDIR --output=DIR
python -m hsjax.export --run=WORKDIR --tower=image --output=DIR
python -m hsjax.export --run=WORKDIR --features=title=DIR,image=DIR --output=DIR
python -m hsjax.export --run=WORKDIR --tower=title --as_published --output=DIR
python -m hsjax.export --run=WORKDIR --artefact --rows=1 --output=DIR
"""

from pathlib import Path

from absl import app, flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.", required=True)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of the pair, encoder or artefact.", required=True
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)
TOWER = flags.DEFINE_string(
    "tower", "", "Only the encoder of this modality, trained from scratch or not."
)
AS_PUBLISHED = flags.DEFINE_boolean(
    "as_published",
    False,
    "In the files, names and dtypes of the published encoder that a tower began with.",
)
ARTEFACT = flags.DEFINE_boolean(
    "artefact", False, "The whole run, from texts and pictures to probabilities."
)
ROWS = flags.DEFINE_integer(
    "rows",
    0,
    "Products of a batch of the artefact, 0 = eval.batch_size of the run.",
    lower_bound=0,
)


def run() -> None:
    if ARTEFACT.value and (TOWER.value or AS_PUBLISHED.value):
        raise app.UsageError(
            "--tower and --as_published are of encoders; --artefact holds all of them"
        )
    from hsjax.data.run_stores import read_places
    from hsjax.inference.artefact_files import export_artefact
    from hsjax.inference.encoder_files import export_run
    from hsjax.inference.published_export import export_published
    from hsjax.tasks.registry import user_errors

    places = Path(RUN.value), Path(OUTPUT.value)
    with user_errors():
        stores = read_places(FEATURES.value)
        if ARTEFACT.value:
            told = export_artefact(*places, rows=ROWS.value, features=stores)
        elif AS_PUBLISHED.value:
            told = export_published(*places, modality=TOWER.value)
        else:
            told = export_run(*places, features=stores, modality=TOWER.value)
    for sentence in told:
        print(f"note: {sentence}")
    print(f"all files: {OUTPUT.value}")


if __name__ == "__main__":
    start(run)
