"""What `bench encode` measures: a frozen encoder against the same one in PyTorch."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hsjax.batch import IMAGE
from hsjax.data.features import content_items
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.extraction import open_extraction
from hsjax.features.encoder import FrozenEncoder
from hsjax.features.encoding import encode_pictures, fetched
from hsjax.timing import THREADS, alternate

PEER_ROWS = 32  # of a peer's batch, the default of sentence-transformers

Encode = Callable[[Sequence], np.ndarray]  # items -> (N, D)


def bench_encode(config, *, items: int, rounds: int) -> dict:
    """Items per second of `config.extract` and of each peer that is installed.

    Every side starts from texts, or from encoded pictures, drawn from the unique ones
    of the catalogue, and ends with vectors in memory. Pictures are decoded by the same
    code for all.

    Raises:
      CatalogueError: no peer is installed, no items, or whatever extraction refuses.
    """
    c, max_pixels = config.extract, config.data.image.max_pixels
    encoder, records = open_extraction(config, quarantine=Quarantine(), stored=())
    unique = list(content_items(config, records, c.modality).values())
    if not unique:
        raise CatalogueError(f"{config.data.path} has no {c.modality} to encode")
    drawn = np.random.default_rng(0).permutation(len(unique))[: items or None]
    some = [unique[i] for i in drawn]
    ours = _ours(encoder, len(some))
    expected = ours(some)
    result = {"items": len(some), "encoder": encoder.facts}
    for name, peer in _peers(c, encoder.facts, max_pixels).items():
        found = alternate(lambda: ours(some), lambda p=peer: p(some), rounds=rounds)
        result[name] = {
            "ours_per_second": len(some) / found["ours_seconds"],
            "peer_per_second": len(some) / found["peer_seconds"],
            "times_faster": 1.0 / found["ratio"],
            **found,
            "largest_difference": float(np.abs(peer(some) - expected).max()),
        }
    return result


def _ours(encoder: FrozenEncoder, total: int) -> Encode:
    shape = encoder.facts["shape"]

    def encode(items):
        vectors = np.zeros((len(items), *shape), np.float32)
        batches = fetched(
            encoder.encode(items),
            shape=shape,
            dtype="float32",
            total=total,
            told="ours",
        )
        for batch in batches:
            vectors[batch.positions] = batch.vectors
        return vectors

    return encode


def _peers(c, facts: dict, max_pixels: int) -> dict[str, Encode]:
    if not importlib.util.find_spec("torch"):
        raise CatalogueError(
            "bench encode compares with PyTorch, which is not installed: pip install"
            " torch (and sentence-transformers)"
        )
    import torch

    torch.set_num_threads(THREADS)
    if c.modality == IMAGE:
        return {"transformers": _torch_pictures(c, facts, max_pixels)}
    peers = {"transformers": _torch_texts(facts)}
    if importlib.util.find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(facts["source"], device="cpu")
        model.max_seq_length = facts["length"]
        peers["sentence-transformers"] = lambda texts: model.encode(
            list(texts), batch_size=PEER_ROWS, normalize_embeddings=False
        )
    return peers


def _torch_texts(facts: dict) -> Encode:
    """Batches in the order given, each padded to its longest text."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(facts["source"])
    model = AutoModel.from_pretrained(facts["source"], dtype=torch.float32).eval()

    @torch.inference_mode()
    def encode(texts):
        found = []
        for first in range(0, len(texts), PEER_ROWS):
            batch = tokenizer(
                list(texts[first : first + PEER_ROWS]),
                padding=True,
                truncation=True,
                max_length=facts["length"],
                return_tensors="pt",
            )
            states = model(**batch).last_hidden_state
            if facts["pool"] == "mean":
                kept = batch["attention_mask"][:, :, None].float()
                states = (states * kept).sum(dim=1) / kept.sum(dim=1)
            else:
                states = states[:, 0]
            found.append(states.numpy())
        return np.concatenate(found)

    return encode


def _torch_pictures(c, facts: dict, max_pixels: int) -> Encode:
    """The same decoded pictures in the same batches."""
    import torch
    from transformers import AutoModel

    from hsjax.models.preprocessing import Preprocessing

    model = AutoModel.from_pretrained(facts["source"], dtype=torch.float32).eval()
    settings = facts["preprocessing"].items()
    look = Preprocessing(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in settings}
    )

    @torch.inference_mode()
    def apply(batch, weight):
        pixels = torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        states = model(pixel_values=pixels)
        if facts["pool"] == "cls":
            return states.last_hidden_state[:, 0].numpy()
        return states.pooler_output.flatten(1).numpy()

    def encode(pictures: Sequence[bytes | Path]):
        batches = encode_pictures(
            apply,
            pictures,
            look=look,
            rows=c.rows,
            max_pixels=max_pixels,
        )
        return np.concatenate([batch.vectors for batch in batches])

    return encode
