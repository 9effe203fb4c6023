"""`peatio-ws check`: tries what the gateway needs, and says what to do."""
