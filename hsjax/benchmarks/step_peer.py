"""The peer of `bench step`: our model as transformers and PyTorch have it."""

import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from hsjax.batch import IMAGE
from hsjax.benchmarks.step import VOCABULARY, Side
from hsjax.models.dual_encoder import write_encoder
from hsjax.timing import THREADS

EPS = 1e-6  # of our layer norms


class Classifier(nn.Module):
    """Towers, projections, one space, a linear classifier of both; says the loss."""

    def __init__(self, config, params):
        super().__init__()
        model = config.model
        self.text, self.image = _towers(config, params)
        self.text_joint = _linear(params["text_joint"]["projection"])
        self.image_joint = _linear(params["image_joint"]["projection"])
        self.head = _linear(params["head"]["level1"])
        self.temperature = nn.Parameter(torch.tensor(params["temperature"]))
        self.limit = math.log(config.objective.max_scale)
        for name in ("mean", "std"):
            value = torch.tensor(model.image[name]).reshape(1, 3, 1, 1)
            self.register_buffer(name, value)

    def forward(self, ids, mask, picture, labels):
        pixels = (picture.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        states = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask[:, :, None].float()
        text = self.text_joint((states * kept).sum(dim=1) / kept.sum(dim=1))
        image = self.image(pixel_values=pixels).last_hidden_state[:, 0]
        image = self.image_joint(image)
        scale = self.temperature.clamp(max=self.limit).exp()
        with torch.autocast(scale.device.type, enabled=False):  # losses are float32
            s = scale * normalize(text.float()) @ normalize(image.float()).T
        own = torch.arange(len(s), device=s.device)
        contrast = (cross_entropy(s, own) + cross_entropy(s.T, own)) / 2
        logits = self.head(torch.cat([text, image], dim=1))
        return contrast + cross_entropy(logits.float(), labels)


def _linear(params: dict) -> nn.Linear:
    layer = nn.Linear(*params["kernel"].shape)
    layer.weight.data = torch.from_numpy(params["kernel"].T.copy())
    layer.bias.data = torch.from_numpy(params["bias"].copy())
    return layer


def _towers(config, params: dict) -> tuple[BertModel, ViTModel]:
    """Of our sizes and with our parameters, by way of files as they are published.

    Raises:
      ValueError: transformers did not find every parameter there.
    """
    text, image = config.model.text, config.model.image
    # one type of tokens, which adds nothing
    types = {"type_embedding": np.zeros((1, text.width), np.float32)}
    settings = BertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=config.data.text.length,
        type_vocab_size=1,
        **_sizes(text),
    )
    size = {"image_size": list(config.data.image.size), "patch_size": image.patch}
    both = (
        ("text", BertModel, settings, params["text"] | types),
        (IMAGE, ViTModel, ViTConfig(**size, **_sizes(image)), params["image"]),
    )
    found = []
    for name, kind, settings, own in both:
        with tempfile.TemporaryDirectory() as folder:
            write_encoder(Path(folder), name, settings.to_dict(), own, {})
            tower, told = kind.from_pretrained(
                folder,
                add_pooling_layer=False,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
        if wrong := [*told["missing_keys"], *told["unexpected_keys"]]:
            raise ValueError(f"the {name} tower is not the same: {sorted(wrong)}")
        found.append(tower.train())
    found[0].embeddings.token_type_embeddings.requires_grad_(False)
    return tuple(found)


def _sizes(c) -> dict:
    return {
        "hidden_size": c.width,
        "num_hidden_layers": c.depth,
        "num_attention_heads": c.heads,
        "intermediate_size": c.mlp,
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu",
        "layer_norm_eps": EPS,
    }


def torch_side(config, params: dict, *, compiled: bool, device: str) -> Side:
    """The peer with our parameters, learning rate, decay and precision.

    On the CPU it has as many threads; bfloat16 is torch's autocast, with parameters in
    float32 as ours are.

    Args:
      device: cpu | cuda.
    """
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision("high")  # of a GPU: as XLA does by itself
    model = Classifier(config, params).to(device)
    optimizer, last = _optimizer(model, config), [torch.zeros(())]
    forward = torch.compile(model) if compiled else model
    half = {"dtype": torch.bfloat16, "enabled": config.model.dtype == "bfloat16"}

    def step(batch):
        names = ("title_ids", "title_mask", "image", "labels")
        ids, mask, views, labels = (torch.from_numpy(batch[k]) for k in names)
        told = ids.long(), mask.long(), views[:, 0], labels[:, 0].long()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, **half):
            last[0] = forward(*(x.to(device) for x in told))
        last[0].backward()
        optimizer.step()

    return Side(step, lambda: float(last[0].detach()))


def _optimizer(model: Classifier, config) -> torch.optim.Optimizer:
    """AdamW, fused where it can be; what has no decay is what has none with us."""
    c, groups = config.optim, {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or "position" in name or "cls_token" in name
            groups[not plain].append(parameter)
    both = [
        {"params": some, "weight_decay": c.weight_decay if decayed else 0.0}
        for decayed, some in groups.items()
    ]
    return torch.optim.AdamW(
        both, lr=c.learning_rate, betas=(c.b1, c.b2), eps=1e-8, fused=True
    )
