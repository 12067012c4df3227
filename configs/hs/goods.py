"""HS codes of goods from text alone, codes as text: frozen MiniLM, label tower, heads.

--config.data.path=TEXTS.csv (columns text, hs6) --config.taxonomy.path=NOMENCLATURE.csv

The two stores come from this config, too: --config.task=extract with
--config.extract.modality=goods and =labels, and --config.extract.encoder=DIR.
Score goods by python -m hsjax.evaluate --run=... --input=GOODS.csv
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.path = ""  # to be given
    config.data.columns.text, config.data.columns.label = ("text",), ("hs6",)
    config.data.split.fractions = (0.94, 0.03, 0.03)
    del config.data.text.streams.title
    config.data.text.streams.goods = ("text",)
    config.data.features.goods = "features/goods"
    config.data.batch_size = 512
    config.taxonomy.edition = "HS 2022"
    config.model.modalities = ("goods",)
    config.model.joint_width = config.model.head.width = 384
    config.model.head.labels = "features/labels"
    config.objective.contrastive = 0.0
    config.train.epochs = 10.0
    return config
