"""Who may use the server: keys of the data folder, further ones with names, logins of browsers."""
