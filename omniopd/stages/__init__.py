"""The stages of the pipeline and the steps of a round: paths in, paths out, and work that is done is skipped.

A Prefect task or a DVC stage is one call of a function here; without either, the calls do the same.
"""
