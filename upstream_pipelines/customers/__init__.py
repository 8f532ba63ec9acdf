"""Who the customers are: creating, configuring, tokens. Not here: their claims."""
