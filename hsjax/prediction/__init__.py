"""Codes for whole catalogues, of any size: see `catalogue`."""
