"""Experiments: studies (ablation), timings (bench), and the training of the small networks (pretraining)."""
