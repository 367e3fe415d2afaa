"""What a key may call: endpoints, client addresses, models, its own stored objects."""
