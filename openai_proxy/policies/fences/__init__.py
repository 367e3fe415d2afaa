"""What a key may call: endpoints, addresses, models, its own stored objects."""
