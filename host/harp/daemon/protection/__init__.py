"""IPsec between members: is it demanded by the kernel, and how strongSwan makes it so."""
