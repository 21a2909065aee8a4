"""Experiments: studies (ablation), timings (bench) and the making of the two small networks (pretraining)."""
