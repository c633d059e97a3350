"""Wrong tables and wrong programs that the checks have to notice."""
