"""Where labelled slices come from: one small module for each kind of source."""
