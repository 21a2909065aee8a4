"""Ablations: grids of runs that differ in one thing, and their results with confidence intervals.

from userlab.ablation.studies import study_named
from userlab.ablation.summary import load_study, tables

study = study_named("queue")
rows = load_study(study, "assets/results")   # a line of the table -> its finished runs
for one in tables(study, rows):
    print(one.text())
"""
