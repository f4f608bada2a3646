"""Several models from one run: seeds, folds, ensembles and boosting. Each member is an ordinary run below the one that asked for it."""
