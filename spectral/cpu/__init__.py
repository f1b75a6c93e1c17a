"""Compiled code for the CPU: the library, and what is computed by it beside the recurrence. Needs a C++ compiler.

``spectral.recurrence.native`` has the recurrence itself. Everything here has a slower way in torch, which is taken
where there is no compiler.
"""
