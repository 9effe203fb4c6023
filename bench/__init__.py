"""`make bench`: this gateway beside others that do the same work, and beside what the kernel alone asks for it."""
