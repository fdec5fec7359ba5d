"""What principals use and may use: the ledger of all calls of providers, limits, and prices."""
