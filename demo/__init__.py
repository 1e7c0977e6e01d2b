"""``make demo``: the operator at work, on a real API server and a simulated cloud.

``story`` is what happens, ``screen`` is how it is told. Every value on the screen
was read from the API server or from the simulator's ledger a moment before.
"""
