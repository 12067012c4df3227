"""Drawn shops, a dial of their distance: does early or late fusion meet a new one?

--config.data.synthetic.style=0 (all alike) to 1, --config.data.synthetic.shops=N and as
many products as are wanted; shop00 is never trained on. The rows are those of
synthetic_shops.jsonl: each seed draws shops and products of its own, learns from about
3,400 of them, and is asked about 1,000 or more. All start from one picture encoder,
trained alone on another catalogue, as Paper B's are pretrained: from scratch some runs
learn pictures late or never, and that decides more than how modalities are fused.
"""

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    config = quickstart.get_config()
    config.data.columns.platform = "shop"
    config.data.synthetic.products = 5000
    config.data.synthetic.shops = 5
    config.data.synthetic.style = 0.5
    config.data.synthetic.duplicates = 0.0  # nothing of the new shop is seen elsewhere
    config.data.split.by = "platform"
    config.data.split.test_platforms = ("shop00",)
    config.model.fusion.kind = "late"
    config.train.epochs = 6.0
    return config
