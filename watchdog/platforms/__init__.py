"""One file a platform: wire format to domain and back. Platforms do not know each other."""
