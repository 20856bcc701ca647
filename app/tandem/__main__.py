"""`python3 -m tandem` is the command `tandem`."""

from tandem.command import main

main()
