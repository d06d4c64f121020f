"""bootledger."""
