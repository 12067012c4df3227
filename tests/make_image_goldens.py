"""Writes the goldens of the image encoders: tests/parity/*.npz. Needs torch.

    python tests/make_image_goldens.py [NAME ...]

Each is a `goldens.Golden`: a tiny random reference model (transformers'; for VGG the
same arithmetic in plain torch), pictures of two sizes, `native` and `other`, their
pooled vectors, and gradients with respect to the `other` pictures and some tensors. The
reference computes in float64. The goldens of real weights hold the vectors only, of the
four pictures of `fixed_pictures`.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from goldens import IMAGES, REAL, fixed_pictures, save_golden, weights

ROWS = 3
SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "image_size": 20,
    "patch_size": 5,
}
# more rows and fewer columns of patches than the table has
NATIVE, OTHER = (20, 20), (35, 16)
VGG = {
    "model_type": "vgg",
    "stages": [1, 2],
    "widths": [4, 6],
    "hidden": 10,
    "grid": 3,
    "dropout": 0.5,
}


def randomize(model, seed: int):
    """Every parameter and statistic away from its start; float64, evaluation mode."""
    import torch

    torch.manual_seed(seed)
    state = model.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape)
        if name.endswith("running_var"):
            new = torch.rand(value.shape) + 0.5
        elif value.ndim < 2 and name.endswith(("weight", "lambda1")):
            new = 1 + 0.2 * noise
        elif value.ndim < 2:
            new = 0.2 * noise
        else:
            new = noise / max(1, value[0].numel()) ** 0.5
        value.copy_(new)
    return model.double().eval()


def vit(kind, model, config, head="", **options):
    """A vision transformer of transformers; `head`: its part below a task's head."""

    def make():
        import transformers

        settings = {k: v for k, v in SMALL.items() if k not in options.get("drop", ())}
        settings |= options.get("settings", {})
        whole = getattr(transformers, model)(getattr(transformers, config)(**settings))
        below = getattr(whole, head) if head else whole

        def pooled(pixels):
            size = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
            return below(pixels, **size).last_hidden_state[:, 0]

        return whole, options.get("pooled", pooled), (NATIVE, OTHER)

    return make


def clip_tower(kind):
    """CLIP's image tower with its projection, alone or in the whole model."""

    def make():
        import transformers as t

        if kind == "clip":
            text = SMALL | {"vocab_size": 9, "num_hidden_layers": 1}
            towers = {"vision_config": SMALL, "text_config": text}
            model = t.CLIPModel(t.CLIPConfig(**towers, projection_dim=7))
        else:
            config = t.CLIPVisionConfig(**SMALL, projection_dim=7)
            model = t.CLIPVisionModelWithProjection(config)

        def pooled(pixels):
            seen = model.vision_model(pixels, interpolate_pos_encoding=True)
            return model.visual_projection(seen.pooler_output)

        return model, pooled, (NATIVE, OTHER)

    return make


def resnet(layer_type, in_bottleneck):
    """ResNetForImageClassification, so that a head is there to be left out."""

    def make():
        import transformers as t

        config = t.ResNetConfig(
            embedding_size=6,
            hidden_sizes=[8, 12],
            depths=[1, 2],
            layer_type=layer_type,
            downsample_in_bottleneck=in_bottleneck,
        )
        model = t.ResNetForImageClassification(config)

        def pooled(pixels):
            return model.resnet(pixels).pooler_output.flatten(1)

        return model, pooled, ((21, 23), (33, 16))

    return make


def vgg(pool):
    """torchvision's VGG in plain torch: features, adaptive average, classifier."""

    def make():
        from torch import nn

        features, before = [], 3
        for count, width in zip(VGG["stages"], VGG["widths"], strict=True):
            for _ in range(count):
                features += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            features.append(nn.MaxPool2d(2, 2))
        hidden, grid = VGG["hidden"], VGG["grid"]
        layers = [nn.Linear(before * grid**2, hidden), nn.ReLU(), nn.Dropout()]
        layers += [nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
        model = nn.Module()
        model.features = nn.Sequential(*features)
        model.classifier = nn.Sequential(*layers, nn.Linear(hidden, 5))

        def pooled(pixels):
            seen = model.features(pixels)
            if pool == "mean":
                return seen.mean((2, 3))
            seen = nn.functional.adaptive_avg_pool2d(seen, grid).flatten(1)
            return model.classifier[:5](seen)

        model.config_json = VGG | {"pool": pool}
        return model, pooled, ((13, 13), (29, 10))

    return make


# name -> (what makes the model, tensors whose gradients are kept, by their ending)
GOLDENS = {
    "vit": (
        vit("vit", "ViTForImageClassification", "ViTConfig", "vit"),
        ("position_embeddings", "cls_token", "query.weight", "projection.bias"),
    ),
    "deit": (
        vit("deit", "DeiTModel", "DeiTConfig"),
        ("position_embeddings", "distillation_token", "projection.weight"),
    ),
    "dinov2": (
        vit(
            "dinov2",
            "Dinov2Model",
            "Dinov2Config",
            drop=("intermediate_size",),
            settings={"mlp_ratio": 2},
        ),
        ("position_embeddings", "layer_scale1.lambda1", "mlp.fc2.weight", "key.bias"),
    ),
    "clip_image": (
        clip_tower("clip"),
        ("visual_projection.weight", "pre_layrnorm.weight"),
    ),
    "clip_vision_model": (
        clip_tower("clip_vision_model"),
        ("class_embedding", "position_embedding.weight", "v_proj.weight", "fc1.bias"),
    ),
    "resnet_basic": (
        resnet("basic", False),
        ("embedder.convolution.weight", "normalization.weight"),
    ),
    "resnet_stride3": (
        resnet("bottleneck", False),
        ("layer.1.convolution.weight", "normalization.bias"),
    ),
    "resnet_stride1": (
        resnet("bottleneck", True),
        ("shortcut.convolution.weight", "layer.0.normalization.weight"),
    ),
    "vgg": (vgg("fc7"), ("features.0.weight", "classifier.0.weight")),
    "vgg_mean": (vgg("mean"), ("features.3.weight", "features.5.bias")),
}


def published(model) -> tuple[dict, dict]:
    """(config.json, tensors) as the model is published."""
    from safetensors.numpy import load_file

    if hasattr(model, "config_json"):
        tensors = {k: v.numpy().copy() for k, v in model.state_dict().items()}
        return model.config_json, tensors
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
        return config, load_file(f"{folder}/model.safetensors")


def gradients(model, pooled, pixels, endings) -> dict[str, np.ndarray]:
    """Of the sum of squares: by published name, and of `pixels`.

    A gradient is put in its tensor's place and published, so that it gets the name and
    shape that its tensor has there.
    """
    import torch

    pixels = pixels.clone().requires_grad_()
    model.zero_grad()
    (pooled(pixels) ** 2).sum().backward()
    kept = {"pixels": pixels.grad.numpy().transpose(0, 2, 3, 1)}
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                torch.zeros_like(parameter)
                if parameter.grad is None
                else parameter.grad
            )
    _, tensors = published(model)
    model.load_state_dict(saved)
    for name, value in tensors.items():
        if name.endswith(endings) and "text_model" not in name:
            kept[name] = value
    return kept


def write(name: str) -> None:
    import torch

    make, endings = GOLDENS[name]
    model, pooled, sizes = make()
    randomize(model, seed=len(name))
    rng, inputs, outputs = np.random.default_rng(0), {}, {}
    for part, size in zip(("native", "other"), sizes, strict=True):
        pixels = rng.normal(size=(ROWS, *size, 3)).astype(np.float32)
        inside = torch.tensor(pixels.transpose(0, 3, 1, 2)).double()
        inputs[part] = pixels
        with torch.no_grad():
            outputs[part] = pooled(inside).numpy()
        outputs |= others(model, inside, part) if name == "vit" else {}
    found = gradients(model, pooled, inside, endings)  # of the last, `other`
    config, tensors = published(model)
    config = config | ({"dtype": "float32"} if "dtype" in config else {})
    facts = {"config": config, "differentiated": "other"}
    groups = {"inputs": inputs, "outputs": outputs, "gradients": found}
    save_golden(name, facts, tensors=tensors, **groups)


def others(model, pixels, part) -> dict[str, np.ndarray]:
    """ViT's patches by the other ways of pooling."""
    import torch

    with torch.no_grad():
        seen = model.vit(pixels, interpolate_pos_encoding=True).last_hidden_state
    patches = seen[:, 1:].numpy()
    return {f"{part}/mean": patches.mean(1), f"{part}/max": patches.max(1)}


RESIZED = ((7, 3), (9, 9), (2, 5), (1, 1), (5, 5))


def write_resampling() -> None:
    """What torch makes of a grid of vectors at other sizes."""
    import torch

    table = np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)
    inside = torch.tensor(table.transpose(2, 0, 1)).double()[None]
    outputs = {}
    for size in RESIZED:
        bicubic = torch.nn.functional.interpolate(
            inside, size=size, mode="bicubic", align_corners=False
        )
        cells = torch.nn.functional.adaptive_avg_pool2d(inside, size)
        for name, said in (("bicubic", bicubic), ("average", cells)):
            key = f"{name}/{size[0]}x{size[1]}"
            outputs[key] = said[0].permute(1, 2, 0).numpy()
    facts = {"sizes": RESIZED}
    save_golden("resampling", facts, inputs={"table": table}, outputs=outputs)


def write_real(name: str, directory: str, side: int) -> None:
    """Pooled vectors of real weights, of the fixed pictures at `side` pixels."""
    import torch
    import transformers

    folder = weights(directory)
    if folder is None:
        print(f"{name}: no {directory}")
        return
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
    scale = json.loads((folder / "preprocessor_config.json").read_text())
    pixels = fixed_pictures(side) / 255.0 - np.array(scale["image_mean"])
    pixels = (pixels / np.array(scale["image_std"])).transpose(0, 3, 1, 2)
    with torch.no_grad():
        said = model(torch.tensor(pixels)).pooler_output.flatten(1).numpy()
    facts = {"side": side, "directory": directory}
    save_golden(name, facts, outputs={"pooled": said})


if __name__ == "__main__":
    assert GOLDENS.keys() == {*IMAGES}
    for wanted in sys.argv[1:] or [*GOLDENS, *REAL, "resampling"]:
        if wanted == "resampling":
            write_resampling()
        elif wanted in REAL:
            write_real(wanted, *REAL[wanted])
        else:
            write(wanted)
