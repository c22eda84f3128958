"""Every change of routing, one callable each: pages, API, admin and commands all call these."""
