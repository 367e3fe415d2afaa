"""The proxy's own pages: service information, health, metrics, and those for the operator."""
