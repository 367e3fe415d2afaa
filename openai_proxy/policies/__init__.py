"""The policies, one folder each: a stage wraps `forward`, so that all stages together form an onion."""
