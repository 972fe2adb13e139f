"""Procedural head CT with haemorrhages: for tests, the demo and the embedded training data. Synthetic.

:mod:`.spec` draws a phantom from a seed, :mod:`.generate` makes its pixels and masks, :mod:`.dicom`
writes it as a scanner would, :mod:`.insert` puts a bleed into a given head CT series.
"""
