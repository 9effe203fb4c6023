"""What workers share, through Redis or within one of them. Knows no socket."""
