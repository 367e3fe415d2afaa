"""Several processes behind the same listening sockets (`workers` above 1).

`supervisor` is what twistd runs then: it holds the sockets, the signals and
the log. Its `crew` starts the processes and replaces those that end.
`worker` is what each of them runs: a `ProxyService` on the inherited
sockets. They talk over a socket pair (`link`). Imported by `tap` where
`workers` asks for it; with one worker nothing here is loaded.
"""
