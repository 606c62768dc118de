"""What was handed in: downloaded, checked, decoded once into a cache."""
