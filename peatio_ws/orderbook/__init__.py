"""Order books. Pure: bodies of snapshots and increments in, books out."""
