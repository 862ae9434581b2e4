"""A file for each later family of objectives: its oracles, cases and values.

Each has CASES, a list of `case.Case`; GOLDEN, variant -> [(call, loss, |d loss / d A|, |d loss / d B|)]; CHANCE and
COLLAPSED, variant -> (function of (N, D) or None); see `golden.py` for what they mean. COLLAPSED may leave out variants
whose value at collapse is that at chance.
"""
