"""Reading files that strangers sent, in processes that may die of them."""
