"""What the one who runs the platform does with all of its data: back it up, restore, export, delete, clean up; and what it
asks across customers: one upload's way to its last delivery, totals, the present state. Not here: what a customer asks about its
own data (the domain packages), how it is shown (cli/, api/).
"""
