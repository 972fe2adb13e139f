"""`python -m ich_triage` is `ich-triage`."""

from .cli.app import main

main()
