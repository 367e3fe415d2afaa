"""The types that all rooms share: the record of an exchange, errors, requests, responses and stages."""
