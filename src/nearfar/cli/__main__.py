"""python -m nearfar.cli."""

from . import main

main()
