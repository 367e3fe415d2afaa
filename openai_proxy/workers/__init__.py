"""Several processes on the same listening sockets (`workers` above 1).

twistd then runs `supervisor`, which holds the sockets, the signals and the log.
Its `pool` starts the processes and replaces those that end. Each of them runs
`worker`: a `ProxyService` on the inherited sockets. They communicate over a
socket pair (`link`). Imported by `tap` if `workers` is above 1; with one worker
nothing here is loaded.
"""
