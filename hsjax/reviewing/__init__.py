"""Answers before people: what they look at first, and what they decide."""
