"""What tests over real sockets and processes are made of: upstreams, daemons, clients and other servers."""
