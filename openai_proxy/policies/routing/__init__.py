"""Several upstreams: which one serves a request, when another attempt is made, and their health."""
