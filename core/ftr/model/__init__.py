"""Pretrained models: loading, adapters, parameters, export."""
