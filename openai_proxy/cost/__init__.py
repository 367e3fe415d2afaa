"""What exchanges cost, what keys may spend, and the totals of both.

`price_list` and `pricing` determine the price of an exchange, `ledger` keeps
the budgets (in a file, in Redis, in memory), `usage` the totals; `build` makes
them from Settings. Imported only by `daemon`.
"""
