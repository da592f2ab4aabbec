"""Table operators in dataframes and engines of other libraries, each in a separate module or package."""
