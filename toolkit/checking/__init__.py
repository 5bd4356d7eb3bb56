"""Class folders -> findings: broken, copied, mislabelled, odd images."""
