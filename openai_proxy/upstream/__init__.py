"""The upstream edge: HTTP/1.1 towards the API that is called."""
