"""Runs on damaged products: which damage, on whom, and what it costs."""
