"""Several upstreams: which one serves a request, when it is asked again, and how they are."""
