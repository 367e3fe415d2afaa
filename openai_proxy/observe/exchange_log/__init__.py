"""The exchange log: whole requests and responses as JSON lines."""
