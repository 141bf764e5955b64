"""A small PACS with sample studies, to try the extraction on a machine that has neither."""
