"""Frozen encoders over a catalogue: vectors on disk, and fewer dimensions of them."""
