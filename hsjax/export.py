"""Saves the encoders of a trained run in Hugging Face's layout.

A run on texts and pictures gives a pair, one with a single tower that encoder.

python -m hsjax.export --run=WORKDIR --output=DIR
python -m hsjax.export --run=WORKDIR --tower=image --output=DIR
python -m hsjax.export --run=WORKDIR --features=title=DIR,image=DIR --output=DIR
"""

from pathlib import Path

from absl import flags

from hsjax.main import start

RUN = flags.DEFINE_string("run", None, "Workdir of a trained run.", required=True)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of the pair, or of the encoder.", required=True
)
FEATURES = flags.DEFINE_multi_string(
    "features", [], "MODALITY=DIR of a feature store of the run that has moved."
)
TOWER = flags.DEFINE_string(
    "tower", "", "Only the encoder of this modality, trained from scratch or not."
)


def run() -> None:
    from hsjax.data.run_stores import read_places
    from hsjax.inference.encoder_files import export_run
    from hsjax.tasks.registry import user_errors

    with user_errors():
        places = read_places(FEATURES.value)
        told = export_run(
            Path(RUN.value),
            Path(OUTPUT.value),
            features=places,
            modality=TOWER.value,
        )
    for sentence in told:
        print(f"note: {sentence}")
    print(f"all files: {OUTPUT.value}")


if __name__ == "__main__":
    start(run)
