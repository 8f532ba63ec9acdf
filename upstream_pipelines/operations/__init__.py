"""What operators of the platform ask across customers: one upload's way to its last delivery, totals, the present state.

Reads only. Not here: what a customer asks about its own data (the domain packages), how it is shown (cli/, api/).
"""
