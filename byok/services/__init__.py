"""Every change of stored keys, one callable each: pages, API, admin and commands all call these."""
