"""`python -m storymem` is `storymem`."""

from storymem.cli import main

if __name__ == "__main__":
    main()
