"""From Settings to the parts that handle exchanges.

Builds values and objects only; opens nothing. `Serving` starts and stops
what is built here, and builds anew for a reload.
"""
