"""From a fetch request to records: within bounds, and whatever their bytes are."""
