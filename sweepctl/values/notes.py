"""What nobody can check of settings before a pod runs, in sentences for whoever made them. Pure."""

from __future__ import annotations

from sweepctl.values.settings import Values
from sweepctl_pod.checkpoint_uri import image_note


def setting_notes(values: Values) -> list[str]:
    """Say what the image must have that the settings ask for."""
    uri = (values.tree.get("checkpoint") or {}).get("uri")  # a release from before it has none
    return [image_note(uri)] if uri else []
