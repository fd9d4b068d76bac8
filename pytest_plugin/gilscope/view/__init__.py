"""Trace files made visible: reading, then a model, then text, a page or Perfetto's format.

Each module uses those before it in that order, and none the command line.
"""
