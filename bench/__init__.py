"""The same work beside its peers, in one run; figures worth keeping go to bench/LOG.md."""
