"""Parameters that the configuration sets for a model."""
