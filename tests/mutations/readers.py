"""Mutations of the readers: indices that are off by one, axes and rows in another order."""

from mutations._mutation import Mutation

_GLM = "data/test_glmsingle.py"
_BIDS = "data/test_bids.py"
_BDATA = "data/test_bdata.py"

READERS = (
    Mutation(
        "MATLAB's conditions count from 0",
        "data/glmsingle_files.py",
        'base = 1 if path.suffix == ".mat" else 0',
        "base = 0",
        (f"{_GLM}::test_a_table_that_counts_otherwise_is_refused",),
    ),
    Mutation(
        "MATLAB's axes are not reversed",
        "data/volumes.py",
        "places = np.asarray(voxels) if trials_last else np.asarray(voxels)[:, ::-1]",
        "places = np.asarray(voxels)",
        (f"{_GLM}::test_matlabs_output_has_reversed_axes_and_counts_from_one",),
    ),
    Mutation(
        "session 10 comes before session 2",
        "data/lab.py",
        "return dict(sorted(numbers.items(), key=lambda item: item[1]))",
        "return dict(sorted(numbers.items(), key=lambda item: str(item[1])))",
        (f"{_BIDS}::test_sessions_are_numbers",),
    ),
    Mutation(
        "volumes are paired with rows by position",
        "data/bids_trials.py",
        '"row": before + index,',
        '"row": before + np.arange(len(index)),',
        (f"{_BIDS}::test_series_of_trials_equal_the_folder",),
    ),
    Mutation(
        "run 10 comes before run 9",
        "data/bids.py",
        "key=lambda f: (f.run, f.path.name)",
        "key=lambda f: f.path.name",
        (f"{_BIDS}::test_runs_of_a_session_are_joined_in_the_order_of_numbers",),
    ),
    Mutation(
        "a noise ceiling is that of one trial",
        "data/bids.py",
        "np.sqrt(ratio / (1 - ratio) / n_repeats)",
        "np.sqrt(ratio / (1 - ratio))",
        (f"{_BIDS}::test_noise_ceilings_are_percent_of_the_mean_of_repeats",),
    ),
    Mutation(
        "contrasts are paired with events by position",
        "data/bids_trials.py",
        "joined = {i: named[_name(c)] for i, c in contrasts.items() if _name(c) in named}",
        "joined = dict(zip(contrasts, named.values(), strict=False))",
        (f"{_BIDS}::test_contrasts_by_a_table",),
    ),
    Mutation(
        "contrasts of a run are joined with the events of any",
        "data/bids_trials.py",
        "[f for f in events if f.run == file.run] or [f for f in events if not f.run]",
        "sorted(events, key=lambda f: f.run)[:1]",
        ("data/test_bids_runs.py::test_contrasts_of_runs_are_joined_with_the_events_of_their_run",),
    ),
    Mutation(
        "a file in another folder is the same stimulus",
        "data/names.py",
        "all(one == other for one, other in zip(*folders, strict=False))",
        "True",
        ("data/test_held_out.py::test_a_file_name_in_another_folder_is_another_stimulus",),
    ),
    Mutation(
        "what a person edited is imported over",
        "store/swap.py",
        "if kind not in EDITED or marker_of(folder) is None:",
        "if kind:",
        ("data/test_imported.py::test_what_was_edited_is_not_imported_over",),
    ),
    Mutation(
        "decimals of an image's number are cut, not rounded",
        "data/bdata.py",
        'f"{value:.6f}".partition(".")',
        'f"{int(value * 10**6) / 10**6}".partition(".")',
        (f"{_BDATA}::test_numbers_are_formatted_and_not_compared",),
    ),
    Mutation(
        "imagery counts as test",
        "data/bdata.py",
        '_TYPES = {1: "train", 2: "test"}',
        '_TYPES = {1: "train", 2: "test", 3: "test"}',
        (f"{_BDATA}::test_rest_and_imagery_are_left_out_by_data_type",),
    ),
    Mutation(
        "sessions of two files are one",
        "data/bdata.py",
        'trials["session"] = trials.pop("number").astype(int)',
        'trials = trials.drop(columns="number")',
        (f"{_BDATA}::test_files_for_training_and_test",),
    ),
    Mutation(
        "all pickled names are allowed",
        "untrusted/numpy_pickles.py",
        "if module not in _MODULES or name not in _NAMES:",
        "if module not in (*_MODULES, module):",
        ("untrusted/test_pickles.py::test_the_remedy_is_named",),
    ),
    Mutation(
        "imported trials keep their order while their responses do not",
        "data/imported.py",
        "table = pd.concat(frames)",
        "table = pd.concat(frames[::-1])",
        ("data/test_imported.py::test_a_command_imports_what_the_reader_reads",),
    ),
    Mutation(
        "what has no effect on a layout is accepted",
        "data/_registry.py",
        "if given != default:",
        "if False:",
        ("data/test_registry.py::test_what_has_no_effect_is_refused",),
    ),
)
