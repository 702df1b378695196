"""What the assets share of Dagster: materializing per collection, leases on the accelerator, previews.

``materialize`` runs a stage over the collections of a run, ``lease`` and ``pool`` limit who uses the accelerator at a
time, ``superseded`` leaves a collection to a later run, ``preview`` makes metadata readable. No stage and no rule of a
check belongs here.
"""
