"""Why a product got its code: see `evidence`."""
