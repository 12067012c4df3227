"""HS codes of goods from text alone, codes as text: frozen MiniLM, a linear map, heads.

--config.data.path=TEXTS.csv (columns text, hs6) --config.taxonomy.path=NOMENCLATURE.csv

The two stores come from this config, too: --config.task=extract with
--config.extract.modality=goods and =labels, and --config.extract.encoder=DIR.
Score goods by python -m hsjax.evaluate --run=... --input=GOODS.csv

With extract.length=512 goods are read whole. 3 minutes on 2 busy CPU cores; 326 real
goods, 4 digits: top-1 0.31, top-5 0.58.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.data.path = ""  # to be given
    config.data.columns.text, config.data.columns.label = ("text",), ("hs6",)
    config.data.split.fractions = (0.96, 0.04, 0.0)  # goods are another file
    del config.data.text.streams.title
    config.data.text.streams.goods = ("text",)
    config.data.features.goods = "features/goods"
    config.data.batch_size = 1024
    config.taxonomy.edition = "HS 2022"
    config.model.modalities = ("goods",)
    # all stays in MiniLM's own space at first, where texts of one kind lie near
    config.model.joint_width, config.model.joint_start = 384, "identity"
    config.model.fusion.norm, config.model.head.width = "raw", 0
    config.model.head.kind, config.model.head.feed = "flat", "none"
    config.model.head.labels, config.model.head.label_width = "features/labels", 384
    config.model.head.label_rows = "goods"
    config.objective.contrastive = 0.0
    maps = (r".*(joint|labels)/.*(kernel|bias)", 0.1, False)
    config.optim.rules = (maps, (r".*", 1.0, False))
    config.train.epochs = 4.0  # more would learn the wording of the nomenclature
    config.eval.parts = ("val",)
    return config
