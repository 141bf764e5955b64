"""The rooms of Niffler's cold extraction: each one mechanism, combined by ColdDataRetriever.py."""
