"""Every metric and every cost: declared once, computed here."""
