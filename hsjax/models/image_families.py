"""Published image encoders: ResNet, VGG and the vision transformers, by model_type."""

from collections.abc import Mapping

from hsjax.models.families import Entry, Family, linear, norm, only, setting
from hsjax.models.published_files import PublishedError
from hsjax.models.resnet import EXPANSION, ResNet
from hsjax.models.vgg import VGG
from hsjax.models.vit_families import HEAD, VIT_FAMILIES

VGG16 = {
    "stages": (2, 2, 3, 3, 3),
    "widths": (64, 128, 256, 512, 512),
    "hidden": 4096,
    "grid": 7,
    "pool": "fc7",
    "dropout": 0.5,
}
VGG_POOLS = ("fc7", "mean")


def resnet_settings(config: Mapping) -> dict:
    """ResNet (He et al., 2016), v1, with either place of the stride; frozen statistics.

    `downsample_in_bottleneck` = stride in the first 1x1 (the paper), else in the 3x3.
    Our own key `frozen_stats` = false lets the statistics move in training.
    """
    only(config, "num_channels", 3)
    only(config, "hidden_act", "relu")
    only(config, "layer_type", *EXPANSION)
    only(config, "downsample_in_first_stage", False)
    kind = config.get("layer_type", "bottleneck")
    widths = tuple(setting(config, "hidden_sizes"))
    if any(width % EXPANSION[kind] for width in widths):
        raise PublishedError(
            f"config.json: hidden_sizes {list(widths)} are no multiples of"
            f" {EXPANSION[kind]}, as {kind} needs"
        )
    stages = tuple(setting(config, "depths"))
    if len(stages) != len(widths):
        raise PublishedError(
            f"config.json: {len(stages)} depths, but {len(widths)} hidden_sizes"
        )
    return {
        "stem": "large",
        "block": kind,
        "stages": stages,
        "widths": tuple(width // EXPANSION[kind] for width in widths),
        "norm": "batch",
        "dropout": 0.0,
        "stride_in": 1 if config.get("downsample_in_bottleneck") else 3,
        "stem_width": setting(config, "embedding_size"),
        "frozen_stats": config.get("frozen_stats", True),
    }


def _conv_norm(ours: str, ours_norm: str, theirs: str) -> list[Entry]:
    """Entries of a convolution without bias and of the batch norm after it."""
    stats = {"mean": "running_mean", "var": "running_var"}
    return [
        Entry(f"{ours}/kernel", (f"{theirs}.convolution.weight",), "conv"),
        *norm(ours_norm, f"{theirs}.normalization"),
        *(
            Entry(f"stats/{ours_norm}/{name}", (f"{theirs}.normalization.{tensor}",))
            for name, tensor in stats.items()
        ),
    ]


def resnet_entries(settings: dict) -> list[Entry]:
    """Every parameter and statistic of a ResNet of these settings."""
    expansion = EXPANSION[settings["block"]]
    before = settings["stem_width"]
    found = _conv_norm("stem0", "stem0_norm", "embedder.embedder")
    plans = zip(settings["stages"], settings["widths"], strict=True)
    for stage, (blocks, width) in enumerate(plans):
        for i in range(blocks):
            ours = f"stage{stage}_block{i}"
            theirs = f"encoder.stages.{stage}.layers.{i}"
            for j in range(3 if settings["block"] == "bottleneck" else 2):
                names = f"{ours}_conv{j}", f"{ours}_norm{j}"
                found += _conv_norm(*names, f"{theirs}.layer.{j}")
            if i == 0 and (stage or before != width * expansion):
                names = f"{ours}_shortcut", f"{ours}_shortcut_norm"
                found += _conv_norm(*names, f"{theirs}.shortcut")
    return found


def vgg_settings(config: Mapping) -> dict:
    """VGG (Simonyan and Zisserman, 2015) as torchvision names it; VGG16 by default.

    torchvision writes no config.json: `{"model_type": "vgg"}` beside its tensors is
    enough for VGG16. Other keys are VGG's arguments; `pool` is fc7 or mean.
    """
    only(config, "pool", *VGG_POOLS)
    settings = VGG16 | {key: config[key] for key in VGG16 if key in config}
    stages, widths = (tuple(settings[key]) for key in ("stages", "widths"))
    if len(stages) != len(widths):
        raise PublishedError(
            f"config.json: {len(stages)} stages, but {len(widths)} widths"
        )
    return settings | {"stages": stages, "widths": widths}


def vgg_entries(settings: dict) -> list[Entry]:
    """Every parameter of a VGG of these settings."""
    found, place = [], 0  # in torchvision's list of convolutions, ReLUs and poolings
    for stage, count in enumerate(settings["stages"]):
        for i in range(count):
            ours, theirs = f"stage{stage}_conv{i}", f"features.{place}"
            found += [
                Entry(f"{ours}/kernel", (f"{theirs}.weight",), "conv"),
                Entry(f"{ours}/bias", (f"{theirs}.bias",)),
            ]
            place += 2
        place += 1
    if settings["pool"] == "fc7":
        found += linear("fc6", "classifier.0") + linear("fc7", "classifier.3")
    return found


RESNET_UNUSED = (
    (r".*\.num_batches_tracked", "a counter of training steps"),
    HEAD,
)


IMAGE_FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *VIT_FAMILIES,
        Family(
            "resnet",
            ("resnet.",),
            resnet_settings,
            ResNet,
            resnet_entries,
            RESNET_UNUSED,
        ),
        Family("vgg", (), vgg_settings, VGG, vgg_entries, (HEAD,)),
    )
}
