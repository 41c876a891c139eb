"""Frozen values and the ports between rooms. Imports nothing but the standard library and `errors`; reads no clock."""
