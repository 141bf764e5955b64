"""Fault tests: everything that goes wrong on a long night, and what is promised all the same."""
