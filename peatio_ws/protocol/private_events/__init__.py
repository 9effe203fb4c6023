"""The kinds of private events, a file for each. `base.py` says what a kind consists of and how to add one; `kinds.py`
lists them."""
