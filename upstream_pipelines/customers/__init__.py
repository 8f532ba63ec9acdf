"""Who the customers are: creating, configuring, tokens, the people who work for them, who did what. Not here: their claims."""
