"""Commands about this machine: doctor, cache, demo."""
