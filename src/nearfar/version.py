"""The version, from the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("nearfar")
except PackageNotFoundError:
    VERSION = "0+unknown"
