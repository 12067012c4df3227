"""Paper B on cached features of Myntra: late fusion of MiniLM and ResNet-50.

An MLP for each of title, brand and picture, a shared layer of 512 and one of 256 for
each level, batch norm, coarser predictions fed forward, Adam at 1e-3, batches of 128,
at most 60 epochs with a patience of 5. The rows of Table II and their seeds stand in
paper_b.jsonl. The features are those of myntra_features.py; the split stays 70:15:15 by
group, so that all tables have the same test part (the paper's is 64:16:20 by product).
"""

from ml_collections import ConfigDict

from configs.fashion import myntra_features


def get_config() -> ConfigDict:
    config = myntra_features.get_config()
    config.data.batch_size = 128
    config.model.modality_dropout = 0.0
    config.model.fusion.kind = "late"
    config.model.fusion.of = "feature"
    config.model.head.width = 512
    config.model.head.level_width = 256
    config.model.head.norm = "batch"
    config.model.head.dropout = 0.3
    config.optim.name, config.optim.schedule = "adam", "constant"
    config.optim.warmup = 0.0
    config.train.epochs = 60.0
    config.train.patience = 5
    config.train.ema = 0.0
    return config
