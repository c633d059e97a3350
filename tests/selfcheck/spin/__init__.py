"""A second model checker: the composition of the machines in Promela, searched by SPIN."""
