"""Public downloads as catalogues, so that an outsider can make every figure again."""
