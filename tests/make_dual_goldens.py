"""Writes tests/parity/dual_*.npz: what transformers says of exported pairs.

    python tests/make_dual_goldens.py

Needs torch. A pair's towers are the random models of the other goldens; projections
are drawn. hsjax writes the pair, transformers' VisionTextDualEncoderModel reads it,
which is refused where a tensor is missing or left over, and answers in float32.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from goldens import save_golden
from pairs import ANSWERS, LOOK, PAIRS, build_pair, scale_of

from hsjax.models.dual_encoder import write_pair


def answer(folder: Path, batch: dict) -> tuple[dict, dict]:
    """(answers, {tensor: shape} as it saves them) of transformers' model."""
    import torch
    from safetensors.numpy import load_file
    from transformers import VisionTextDualEncoderModel

    model, told = VisionTextDualEncoderModel.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(told.values()), told
    pixels = (batch["image"][:, 0].astype(np.float32) / 255 - 0.5) / 0.5
    with torch.no_grad():
        found = model.eval()(
            input_ids=torch.tensor(batch["title_ids"]).long(),
            attention_mask=torch.tensor(batch["title_mask"]).long(),
            pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2)),
        )
    model.save_pretrained(folder / "again")
    saved = load_file(folder / "again" / "model.safetensors")
    shapes = {name: tensor.shape for name, tensor in saved.items()}
    return {name: found[name].numpy() for name in ANSWERS}, shapes


def main() -> None:
    for name in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            pair = build_pair(name, Path(folder))
            target = Path(folder) / "pair"
            write_pair(target, pair.towers, scale=scale_of(pair), look=LOOK)
            found, shapes = answer(target, pair.batch)
        save_golden(f"dual_{name}", {"shapes": shapes}, outputs=found)


if __name__ == "__main__":
    sys.exit(main())
