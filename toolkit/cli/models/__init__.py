"""Commands about models: recipe, train, export, adopt, inspect."""
