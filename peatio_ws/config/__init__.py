"""The environment: every variable, and what is wrong with it."""
