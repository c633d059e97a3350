"""Adapters that put bluegreen into gRPC channels, DB-API drivers and the e6data connector.

Nothing is imported here: each module brings its own dependency, behind an extra of the same name.
"""
