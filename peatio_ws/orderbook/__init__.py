"""Order books. Pure: takes the bodies of snapshots and increments, and returns books."""
