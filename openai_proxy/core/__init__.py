"""Pure values and rules: no clock, socket, file, environment or reactor.

Imports the standard library, attrs and orjson only. Everybody may import it.
"""
