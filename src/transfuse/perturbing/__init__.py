"""Inputs changed on purpose: attacks that follow the gradient, noise and damage that occur by themselves."""
