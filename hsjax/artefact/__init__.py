"""A run as one folder that answers without the code that trained it.

    artefact.json           what the program takes and gives; hashes of the other files
    program.stablehlo       from encoders to probabilities, as jax.export serializes it
    parameters.safetensors  its first argument
    taxonomy.json           the tree
    tokenizer*.json         of the text streams
    calibration.json        where the run has been calibrated

Parameters lie beside the program, not inside: there they would be constants of it,
held twice while it is compiled, in a format that ends at 2 GiB and that nobody else
reads. Here imports jax, numpy, tokenizers, Pillow, safetensors, and of hsjax only the
tree and what reads a field.
"""
