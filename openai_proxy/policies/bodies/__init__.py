"""Request bodies that are read whole or looked at; response bodies that are looked into."""
