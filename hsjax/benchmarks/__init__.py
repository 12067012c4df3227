"""What `python -m hsjax.bench` measures, one module a bench."""
