"""The commands that control running gateways through Redis."""
