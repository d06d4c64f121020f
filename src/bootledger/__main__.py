"""`python -m bootledger` is the `bootledger` command."""

from bootledger.cli import main

main()
