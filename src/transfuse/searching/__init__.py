"""Options to the best of them, handed a function; knows no verb."""
