"""Results looked at and corrected: one page, written to be mailed, or served to take decisions."""
