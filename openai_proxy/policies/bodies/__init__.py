"""Read request bodies whole or in passing, and look into response bodies."""
