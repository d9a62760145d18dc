"""Mutations of the transfer to imagery: wiring, statistics, the reader of NSD-Imagery."""

from mutations._mutation import Mutation

_PIPELINE = "pipeline/test_transfer.py"
_STATISTICS = "evaluation/transfer"

TRANSFER = (
    Mutation(
        "decoders of a transfer meet the voxels of all regions in another order",
        "pipeline/transferring.py",
        "return np.array([place[key] for key in keys], np.intp), tuple(notes)",
        "return np.sort([place[key] for key in keys])[::-1].copy(), tuple(notes)",
        (f"{_PIPELINE}::test_voxels_are_found_by_where_they_are",),
    ),
    Mutation(
        "responses of another person are decoded",
        "pipeline/transferring.py",
        "if other.origin.dataset != OWN:",
        "if other.origin.dataset is None:",
        (f"{_PIPELINE}::test_voxels_that_do_not_match_are_refused_by_name",),
    ),
    Mutation(
        "imagined and seen trials are averaged together",
        "pipeline/transferring.py",
        'own = (table["task"] == task).to_numpy()\n    predicted',
        'own = (table["task"] != "").to_numpy()\n    predicted',
        (f"{_PIPELINE}::test_images_are_drawn_from_mean_responses_with_the_noise_of_the_stimulus",),
    ),
    Mutation(
        "a voxel without data keeps its zeros",
        "pipeline/transferring.py",
        'betas[:, empty] = moments["mean"][empty].astype(np.float32)',
        "betas[:, empty] = np.float32(0)",
        (f"{_PIPELINE}::test_voxels_without_data_count_with_their_training_mean",),
    ),
    Mutation(
        "the standardisation that was asked for is not passed on",
        "pipeline/transferring.py",
        "transfer.standardise,\n            _groups",
        '"none",\n            _groups',
        (f"{_PIPELINE}::test_what_is_done_is_reused_and_another_standardisation_decodes_again",),
    ),
    Mutation(
        "voxels of a region reach its decoder in reverse order",
        "pipeline/transfer/_2_decode.py",
        "in_protocol_units(responses(run)[:, mask], source.config)",
        "in_protocol_units(responses(run)[:, np.flatnonzero(mask)[::-1]], source.config)",
        (f"{_PIPELINE}::test_trials_are_decoded_by_the_runs_decoder",),
    ),
    Mutation(
        "the verdict has no cue control",
        "pipeline/transfer/_3_reliability.py",
        "if CUE in tasks else None",
        "if CUE not in tasks else None",
        (f"{_PIPELINE}::test_verdict_is_over_the_regions_and_sets_of_the_run",),
    ),
    Mutation(
        "decoded targets are compared with the true ones of other stimuli",
        "pipeline/transfer/_5_identify.py",
        "rows = [list(ids).index(i) for i in chosen]",
        "rows = [list(ids).index(i) for i in reversed(chosen)]",
        (f"{_PIPELINE}::test_identification_is_that_of_loops",),
    ),
    Mutation(
        "words are compared with the mean of all training captions",
        "pipeline/transfer/_5_identify.py",
        "parts.append(word_targets(columns, texts, words))",
        "parts.append(word_targets(columns, [sum(map(tuple, texts), ())] * len(texts), words))",
        (f"{_PIPELINE}::test_words_of_dreams_are_identified_as_by_loops",),
    ),
    Mutation(
        "halves keep the mean of their stimuli",
        "evaluation/transfer/_reliability.py",
        "centring = np.eye(n) - 1 / n",
        "centring = np.eye(n)",
        (
            f"{_STATISTICS}/test_reliability.py::"
            "test_pseudo_values_leave_a_stimulus_out_from_the_start",
        ),
    ),
    Mutation(
        "a p of several sets is the largest of them",
        "evaluation/transfer/permutation.py",
        "rest = np.add.outer(rest, each).ravel()",
        "rest = np.maximum.outer(rest, each).ravel()",
        (f"{_STATISTICS}/test_permutation.py::test_p_over_sets_counts_every_combination",),
    ),
    Mutation(
        "imagery need not exceed the cue",
        "evaluation/transfer/verdict.py",
        "p_signal[name] < LEVEL and p_cue.get(name, 1.0) < LEVEL,",
        "p_signal[name] < LEVEL,",
        (f"{_STATISTICS}/test_reliability.py::test_without_control_nothing_is_claimed",),
    ),
    Mutation(
        "Fieller's interval forgets that both means are of the same stimuli",
        "evaluation/transfer/intervals.py",
        "linear = a * b - square * v[0, 1]",
        "linear = a * b",
        (
            f"{_STATISTICS}/test_transfer_intervals.py::"
            "test_an_end_of_fiellers_interval_is_where_the_test_says_005",
        ),
    ),
    Mutation(
        "a tie of similarities is a win",
        "evaluation/transfer/identification.py",
        "won = (margin > TIE) + 0.5 * (np.abs(margin) <= TIE)",
        "won = (margin > -TIE) + 0.5 * (margin == 0) * 0",
        (
            f"{_STATISTICS}/test_transfer_identification.py::"
            "test_one_prediction_for_all_is_at_chance",
        ),
    ),
    Mutation(
        "imagery runs of NSD-Imagery come set by set",
        "data/nsd_imagery.py",
        '"visC", "attC", "imgC_1"),\n    *("imgA_2", "imgB_2", "imgC_2"),',
        '"visC", "attC", "imgA_2"),\n    *("imgC_1", "imgB_2", "imgC_2"),',
        ("data/test_nsd_imagery.py::test_every_beta_has_the_trial_of_its_run",),
    ),
    Mutation(
        "numbers in the names of NSD's images count from 0",
        "data/nsd_imagery.py",
        'f"{int(m[1]) - 1:05d}"',
        'f"{int(m[1]):05d}"',
        ("data/test_nsd_imagery.py::test_images_and_captions_are_those_of_the_cue",),
    ),
)
