"""What the program of an artefact reads of a row: as the run itself reads it."""

from collections.abc import Mapping

import jax
import numpy as np

from hsjax.artefact.document import PictureInput, TextInput
from hsjax.batch import IMAGE
from hsjax.inference.artefact_encoders import StoredEncoder
from hsjax.inference.predict import Run


def text_inputs(
    run: Run, encoders: Mapping[str, StoredEncoder]
) -> dict[str, TextInput]:
    """Stream -> what the program reads of a row."""
    streams, found = run.config.data.text.streams, {}
    for stream, length in run.spec.lengths:
        found[stream] = TextInput(tuple(streams[stream]), length, "tokenizer.json")
    for stream, encoder in encoders.items():
        if stream != IMAGE:
            found[stream] = TextInput(
                columns=tuple(streams[stream]),
                length=encoder.facts["length"],
                tokenizer=f"tokenizer_{stream}.json",
                prefix=encoder.facts.get("prefix", ""),
                bare=True,
            )
    return found


def picture_input(
    run: Run, encoders: Mapping[str, StoredEncoder]
) -> PictureInput | None:
    """How a picture becomes the program's pixels."""
    config = run.config
    if IMAGE not in config.model.modalities:
        return None
    options = {
        "column": config.data.columns.image or IMAGE,
        "max_pixels": config.data.image.max_pixels,
    }
    if IMAGE in encoders:
        look = encoders[IMAGE].facts["preprocessing"]
        margins = zip(look["resize"], look["size"], strict=True)
        offset = tuple((whole - part) // 2 for whole, part in margins)
        return PictureInput(**{**look, **options, "offset": offset})
    resize, size = tuple(config.data.image.resize), tuple(run.spec.image[1:])
    # the crop in the middle, as `assemble` cuts it
    margins = zip(resize, size, strict=True)
    return PictureInput(
        resize=resize,
        size=size,
        offset=tuple((whole - part + 1) // 2 for whole, part in margins),
        resample="bicubic",
        mean=tuple(config.model.image.mean),
        std=tuple(config.model.image.std),
        **options,
    )


def input_shapes(
    rows: int, texts: Mapping[str, TextInput], picture: PictureInput | None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Name -> shape of the arrays of a batch."""
    found = {}
    for stream, text in texts.items():
        found[f"{stream}_ids"] = jax.ShapeDtypeStruct((rows, text.length), np.int32)
        found[f"{stream}_mask"] = jax.ShapeDtypeStruct((rows, text.length), np.bool_)
        found[f"has_{stream}"] = jax.ShapeDtypeStruct((rows,), np.bool_)
    if picture:
        shape = rows, 1, *picture.size, 3
        found[IMAGE] = jax.ShapeDtypeStruct(shape, np.uint8)
        found[f"has_{IMAGE}"] = jax.ShapeDtypeStruct((rows,), np.bool_)
    return found
