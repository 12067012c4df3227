"""A config's keys: which values each has, and mistakes in words."""
