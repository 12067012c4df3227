"""How many bytes a compiled program holds on each device."""

SIZES = ("argument", "output", "alias", "temp", "generated_code")


def sizes_of(compiled) -> dict[str, int | None]:
    """Bytes by kind, as XLA says them; None = it does not."""
    memory = compiled.memory_analysis()
    return {x: getattr(memory, f"{x}_size_in_bytes", None) for x in SIZES}


def bytes_per_device(compiled) -> int:
    """Arguments, results and temporaries; what may be overwritten counts once."""
    sizes = sizes_of(compiled)
    return sum(sizes[x] for x in ("argument", "output", "temp")) - sizes["alias"]
