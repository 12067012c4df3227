"""Trained runs: opening, scoring, members of ensembles and cascades, reports."""
