"""Texts that a library reads settings from: JSON, YAML, templates, model cards, repositories."""
