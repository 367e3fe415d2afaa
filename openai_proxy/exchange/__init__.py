"""The ground: the record of an exchange, its errors, and the vocabulary of requests, responses and stages."""
