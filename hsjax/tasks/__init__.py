"""`config.task`: what a workdir is made by."""
