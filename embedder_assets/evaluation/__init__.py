"""How good the rankings are on judged queries: nDCG, baselines, and the gates that hold models and exports back.

The asset checks that ask these questions in a run are in ``checks``.
"""
