"""The ground: the record of an exchange, errors, requests, responses and stages."""
