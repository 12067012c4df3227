"""New sub-categories of Myntra's footwear, from pictures alone (Paper B, IV-D, V-C).

--config.data.path=.../myntra.parquet, with the cells of ResNet-50 as features:
python -m hsjax.main --config=configs/fashion/myntra_features.py
    --config.data.path=... --workdir=features/image_states --config.task=extract
    --config.extract.modality=image --config.extract.encoder=encoders/resnet50
    --config.extract.size="(112, 112)" --config.extract.states=True
    --config.extract.pca=0.9

Level 3 is hidden, and judges what is found: discovery.jsonl has five seeds of it beside
K-means, category discovery and the labels alone. A shop with shallow labels sets keep
and truth to 0, and branch to the node that is too broad.
"""

from ml_collections import ConfigDict

from configs.fashion import myntra


def get_config() -> ConfigDict:
    config = myntra.get_config()
    config.task = "recategorize"
    config.model.modalities = ("image",)
    config.objective.contrastive = 0.0
    config.data.features.image = "features/image_states/pca"
    config.recategorize.branch = "Footwear"
    config.recategorize.keep = 2
    config.recategorize.truth = 3
    config.recategorize.min_size = 400  # 5 % of the branch
    return config
