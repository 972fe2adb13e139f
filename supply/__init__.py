"""What we take from others: known weaknesses, licences. For development; no site has it."""
