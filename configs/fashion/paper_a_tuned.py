"""Paper A on Myntra, fine-tuned: the last two of MiniLM's six layers, and what follows.

--config.data.path=.../myntra.parquet --config.model.text.published=encoders/minilm
--config.data.features.image=DIR: as in paper_a.py, pictures stay cached features.
"""

from ml_collections import ConfigDict

from configs.fashion import paper_a


def get_config() -> ConfigDict:
    config = paper_a.get_config()
    config.data.features.title = ""
    config.data.text.tokenizer = "train"  # MiniLM's own, see base.py
    config.data.text.length = 16  # tokens; 1 to 2 % of the titles are longer
    config.model.text.published = ""  # to be given
    config.data.batch_size = 256
    last_two, rest = r"text/layer[45]/.*", r"text/.*"
    config.optim.rules = (
        (last_two + "(bias|scale)", 0.05, False),
        (last_two, 0.05, True),
        (rest, 0.0, False),
        *config.optim.rules,
    )
    config.train.epochs = 4.0
    return config
