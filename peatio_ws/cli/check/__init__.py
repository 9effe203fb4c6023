"""`peatio-ws check`: tries what the gateway needs, and suggests remedies."""
