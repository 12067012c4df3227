"""What `bench embed` measures: a frozen encoder against the same one in PyTorch.

transformers is measured twice with texts: in batches as they come, as its own pipeline
makes them, and on the very batches that ours is given, the same tokens in the same
order with the same padding. With pictures there is no difference. sentence-transformers
goes its own way, from texts to vectors of unit length, which are compared with ours
made as long.
"""

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from hsjax.batch import IMAGE
from hsjax.benchmarks.peers import check_torch, peer_device
from hsjax.data.features import content_items
from hsjax.data.quarantine import CatalogueError, Quarantine
from hsjax.data.records import load_records
from hsjax.data.tokenizer_folder import load_tokenizer
from hsjax.features.encoded_batches import (
    encode_pictures,
    encode_texts,
    fetched,
    pad,
    token_ids,
)
from hsjax.features.frozen_encoder import FrozenEncoder, batch_tokens
from hsjax.models.preprocessing import from_facts
from hsjax.tasks.extraction import open_encoder
from hsjax.timing import THREADS, headline, times_faster

FIRST, SENTENCES = "transformers", "sentence-transformers"
KNOWN = ("mean", "cls")  # pools of the peers
ROWS = 64  # of a batch as they come

Encode = Callable[[Sequence], Float[np.ndarray, "N D"]]


def bench_embed(config, *, items: int, rounds: int) -> dict:
    """Items per second of `config.extract` and of each peer that is installed.

    `ours`, `peer`, `ratio` and `spread` are beside transformers, of texts as they come.

    Every side starts from texts, or from encoded pictures, drawn from the unique ones
    of the catalogue, and ends with vectors in memory. Pictures are decoded by the same
    code for all.

    Raises:
      ConfigError: PyTorch is not installed.
      CatalogueError: no items, or whatever extraction refuses.
    """
    c, encoder = config.extract, open_encoder(config)
    if c.states:
        raise CatalogueError("bench embed compares one vector an item, not states")
    if encoder.facts["pool"] not in KNOWN:
        raise CatalogueError(
            f"bench embed knows how PyTorch pools by {' and '.join(KNOWN)}, not by"
            f" {encoder.facts['pool']}"
        )
    check_torch("embed")
    unique = list(_unique(config).values())
    if not unique:
        raise CatalogueError(f"{config.data.path} has no {c.modality} to encode")
    drawn = np.random.default_rng(0).permutation(len(unique))[: items or None]
    some = [unique[i] for i in drawn]
    ours = _ours(encoder, len(some))
    expected = ours(some)
    device, facts = peer_device("embed")
    found, size = {}, len(some)
    for name, peer in _peers(config, encoder.facts, device).items():
        turns = times_faster(lambda: ours(some), lambda p=peer: p(some), rounds=rounds)
        found[name] = {
            "ours_per_second": size / turns["ours_seconds"],
            "peer_per_second": size / turns["peer_seconds"],
            **turns,
            "largest_difference": largest_difference(name, expected, peer(some)),
        }
    first = headline("embed", size, found[FIRST], peer_is="transformers on torch")
    return first | facts | {"items": size, "encoder": encoder.facts} | found


def _unique(config) -> dict:
    """Content key -> text, or picture as the catalogue has it."""
    data = config.data.copy_and_resolve_references().unlock()
    data.required = ()
    if config.extract.modality != IMAGE:
        data.columns.image = ""
    records = load_records(data, quarantine=Quarantine(), labelled=False, stored=())
    return content_items(config, records, config.extract.modality)


def largest_difference(
    name: str, ours: Float[np.ndarray, "N D"], theirs: Float[np.ndarray, "N D"]
) -> float:
    """Of any two numbers; of unit vectors, which is what sentence-transformers says."""
    if name == SENTENCES:
        ours, theirs = _unit(ours), _unit(theirs)
    return float(np.abs(theirs - ours).max())


def _unit(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


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


def _peers(config, facts: dict, device: str) -> dict[str, Encode]:
    import torch

    torch.set_num_threads(THREADS)
    if config.extract.modality == IMAGE:
        return {FIRST: _torch_pictures(config, facts, device)}
    peers = _torch_texts(config, facts, device)
    if importlib.util.find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(facts["source"], device=device)
        model.max_seq_length = facts["length"]
        before = facts.get("prefix", "")
        peers[SENTENCES] = lambda texts: model.encode([before + x for x in texts])
    return peers


def _torch_model(facts: dict, device: str):
    """(the encoder as transformers has it, its precision as a context)."""
    import torch
    from transformers import AutoModel

    torch.set_float32_matmul_precision("high")  # of a GPU: as XLA does by itself
    model = AutoModel.from_pretrained(facts["source"], dtype=torch.float32)
    half = {"dtype": torch.bfloat16, "enabled": facts["compute"] == "bfloat16"}
    return model.eval().to(device), lambda: torch.autocast(device, **half)


def _torch_texts(config, facts: dict, device: str) -> dict[str, Encode]:
    """transformers on texts as they come, and on the batches of `encode_texts`."""
    import torch

    model, half = _torch_model(facts, device)

    @torch.inference_mode()
    def apply(ids, mask):
        mask = torch.from_numpy(mask).to(device)
        ids = torch.from_numpy(ids).long().to(device)
        with half():
            found = model(input_ids=ids, attention_mask=mask.long())
        states = found.last_hidden_state.float()
        if facts["pool"] != "mean":
            return states[:, 0].cpu().numpy()
        kept = mask[:, :, None].float()
        # a batch may be filled up with empty rows
        mean = (states * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        return mean.cpu().numpy()

    tokenizer = load_tokenizer(facts["source"])
    options = {"tokenizer": tokenizer, "length": facts["length"]}
    options |= {
        "tokens": batch_tokens(config.extract),
        "prefix": facts.get("prefix", ""),
    }

    def as_they_come(texts):
        tokenizer.no_padding()
        tokenizer.enable_truncation(facts["length"])
        vectors = []
        for first in range(0, len(texts), ROWS):
            here = [options["prefix"] + text for text in texts[first : first + ROWS]]
            ids = token_ids(tokenizer, here)
            width = max(map(len, ids))
            vectors.append(apply(*pad(ids, rows=len(ids), width=width)))
        return np.concatenate(vectors)

    def on_ours(texts):
        return _in_order(encode_texts(apply, texts, **options), len(texts))

    return {FIRST: as_they_come, "transformers_our_batches": on_ours}


def _torch_pictures(config, facts: dict, device: str) -> Encode:
    """transformers on the batches of `encode_pictures`."""
    import torch

    model, half = _torch_model(facts, device)
    look = from_facts(facts["preprocessing"])
    mean, std = (
        torch.tensor(x, device=device).reshape(1, 3, 1, 1)
        for x in (look.mean, look.std)
    )

    @torch.inference_mode()
    def apply(batch, weight):
        pixels = torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        with half():
            states = model(pixel_values=(pixels.to(device).float() / 255 - mean) / std)
        if facts["pool"] == "cls":
            return states.last_hidden_state[:, 0].float().cpu().numpy()
        return states.pooler_output.flatten(1).float().cpu().numpy()

    options = {"look": look, "rows": config.extract.rows}
    options |= {"max_pixels": config.data.image.max_pixels}
    return lambda items: _in_order(encode_pictures(apply, items, **options), len(items))


def _in_order(batches, total: int) -> Float[np.ndarray, "N D"]:
    """Vectors by the places of their items."""
    places, vectors = zip(*((x.positions, x.vectors) for x in batches), strict=True)
    found = np.zeros((total, vectors[0].shape[1]), np.float32)
    found[np.concatenate(places)] = np.concatenate(vectors)
    return found
