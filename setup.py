"""The packages and the files within them; all else is in pyproject.toml.

userlib takes its three small networks along: assets in a clone, userlib/assets in an installation.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["userlib*", "userscenes*", "userlab*"]),
        *find_packages("notebooks", include=["usercourse*"]),
        "userlib.assets",
    ],
    package_dir={"usercourse": "notebooks/usercourse", "userlib.assets": "assets"},
    package_data={
        "userlib": ["py.typed", "search/drawings.json"],
        "userlib.assets": ["region-mini/*", "clip-mini/*", "photos-mini/*"],
        "userscenes": ["py.typed"],
        "userlab": ["py.typed"],
        "usercourse": ["py.typed", "demo/*.css", "demo/*.js", "demo/*.ipynb"],
    },
)
