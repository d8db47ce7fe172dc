"""Artifacts: the versions that trainers log, and the bytes that they hold."""
