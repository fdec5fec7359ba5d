from importlib.metadata import packages_distributions

OURS = {"function_app", "local", "shared"}


def test_no_installed_distribution_hides_our_packages() -> None:
    # In Azure the application's folder is the last on sys.path.
    installed = packages_distributions()
    assert {name: installed[name] for name in OURS & installed.keys()} == {}
