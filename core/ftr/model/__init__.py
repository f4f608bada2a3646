"""Pretrained models: loading, adapters, parameters, saving."""
