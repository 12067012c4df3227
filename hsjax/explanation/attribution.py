"""How much each word and each field of a picture counts for an answer."""

import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.quarantine import CatalogueError
from hsjax.explanation.asked import Asked
from hsjax.explanation.gradients import Attributions, Gradients
from hsjax.explanation.occlusion import (
    occluded_fields,
    occluded_words,
    seen_box,
    stream_text,
)

INTEGRATED, GRADIENT = "integrated_gradients", "gradient_x_input"
OCCLUSION = "occlusion"
CELLS = 8  # of a picture along each side, over which pixels are summed


class Attribution:
    """`attribution(place)`: by modality, of a product that is asked about.

    In what way hangs on how the modality reaches the model: by gradients where its
    encoder is part of it, by `occlusion` where features of a frozen one are read, or
    where its vocabulary is too small for `Gradients`.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked, spec = asked, asked.run.spec
        self._gradients = Gradients(asked) if spec.streams or spec.image else None

    def __call__(self, place: int) -> dict[str, dict]:
        """How much each word and field of what is there counts, see the methods."""
        spec, batch = self.asked.run.spec, self.asked.batch
        names = [m for m in spec.modalities if batch[f"has_{m}"][place]]
        read = {*spec.streams, *((IMAGE,) if spec.image else ())}
        found = self._gradients(place) if read.intersection(names) else None
        return {name: self._of_modality(place, name, found) for name in names}

    def _of_modality(self, place: int, name: str, found: Attributions | None) -> dict:
        if found is not None and name in found.tokens:
            words = self._words(place, name, found.tokens[name])
            told = {"total": found.total, "missed": found.missed}
            return {"method": INTEGRATED, "words": words, **told}
        if found is not None and name == IMAGE and found.pixels is not None:
            grid, box = summed(found.pixels).tolist(), seen_box(self.asked)
            return {"method": GRADIENT, "grid": grid, "box": box}
        try:
            return {"method": OCCLUSION, **self._occluded(place, name)}
        except CatalogueError as error:  # the encoder is gone
            return {"method": OCCLUSION, "missing": str(error)}

    def _occluded(self, place: int, name: str) -> dict:
        if name == IMAGE:
            grid, box = occluded_fields(self.asked, place)
            return {"grid": grid.tolist(), "box": box}
        words, values = occluded_words(self.asked, place, name)
        pairs = zip(words, values.tolist(), strict=True)
        return {"words": [{"word": w, "attribution": x} for w, x in pairs]}

    def _words(self, place: int, stream: str, tokens: np.ndarray) -> list[dict]:
        """Tokens summed over their words; None for words behind the last token read."""
        words = stream_text(self.asked, place, stream).split()
        numbers = self.asked.examples.tokens[stream].words[place]
        there = self.asked.batch[f"{stream}_mask"][place] & (numbers >= 0)
        total = np.zeros(len(words))
        np.add.at(total, numbers[there], tokens[there])
        read = np.isin(np.arange(len(words)), numbers[there])
        return [
            {"word": w, "attribution": float(x) if here else None}
            for w, x, here in zip(words, total, read, strict=True)
        ]


def summed(pixels: np.ndarray) -> np.ndarray:
    """(CELLS, CELLS) sums of (H, W) over fields, or (H, W) where it is smaller."""
    rows, columns = (min(CELLS, size) for size in pixels.shape)
    parts = np.array_split(pixels, rows, axis=0)
    return np.array([
        [x.sum() for x in np.array_split(part, columns, axis=1)] for part in parts
    ])  # fmt: skip
