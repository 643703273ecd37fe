"""One check a module: `check_<id>(trial)` writes that check and never raises for a bad file. judge.py orders them."""
