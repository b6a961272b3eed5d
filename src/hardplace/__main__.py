"""`python -m hardplace` is the command line."""

from hardplace.cli import main

main()
