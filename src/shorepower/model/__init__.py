"""The words of shorepower: frozen values and pure rules, no I/O.

Standard library and msgspec only. The bodies of the HTTP interface ``/v1`` are these structs.
"""
