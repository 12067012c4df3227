"""Paper A's models on Myntra with weak HS headings: article type and gender, mapped.

--config.data.label_map=LABELS.csv has the columns native,label, such as
"Tshirts > Men",6109; features as in paper_a.py. No customs officer saw these labels.
"""

from ml_collections import ConfigDict

from configs.fashion import paper_a


def get_config() -> ConfigDict:
    config = paper_a.get_config()
    config.data.columns.label = ("level3", "gender")
    config.data.columns.label_kind = "code"
    config.taxonomy.digits = (2, 4)
    return config
