"""Measurements that anyone can repeat: ``make bench``.

Every figure comes from one run in which the rivals take turns, because machines
are noisy; medians and ratios are what counts.
"""
