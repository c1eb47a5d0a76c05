"""Which providers are known, and what is particular about those that no row can describe?"""
