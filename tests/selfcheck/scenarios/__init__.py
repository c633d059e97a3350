"""Pictures of whole switches: the composition of the machines, and runs of the model as sequence diagrams."""
