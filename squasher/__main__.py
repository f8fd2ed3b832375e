"""`python -m squasher` is `squash`."""

from squasher.cli.main import main

main()
