"""How good the rankings are on judged queries, and what follows from it.

``evaluate`` measures, ``results`` reads the results from the tables, ``baseline`` accepts one of them,
``quality_gate`` decides whether a collection may be exported, ``model_gate`` whether the vectors of a new model replace
the old ones, and ``model_comparison`` compares two models. The asset checks that report the decisions of the gate in a
run are in ``checks.quality_gate``; how rankings are made belongs to ``retrieval``. All six modules are for others.
"""
