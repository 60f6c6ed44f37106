"""What nodes share. `interface` is what others depend on, `memory` the make for one node."""
