"""The protocol: folds, label budgets, systems, and their scores."""
