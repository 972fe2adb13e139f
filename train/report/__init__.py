"""What people read about a package: the model card, and the evaluation as a page and as JSON."""
