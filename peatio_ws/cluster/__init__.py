"""State shared by workers, in Redis or local to one worker. Knows no socket."""
