"""`python -m squasher` is `squash`."""

from squasher.cli import main

main()
