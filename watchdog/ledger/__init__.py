"""Where aborts are written down before anything is done."""
