"""Peatio's protocols. Pure: deliveries in, events out; a client's texts in, actions out."""
