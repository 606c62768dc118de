"""What a run leaves: records in a store, the manifest, predictions read back."""
