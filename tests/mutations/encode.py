"""Mutations of what the stages of an encoding analysis compute and pass to each other."""

from mutations._mutation import Mutation

_WIRING = "pipeline/test_encoding_wiring.py"
_FIT = "pipeline/encode/_5_fit.py"
_MOMENTS = f"{_WIRING}::test_each_latent_is_taken_at_its_own_moments"
_RESULTS = f"{_WIRING}::test_every_result_of_a_model_is_that_of_scikit_learn_and_scipy"

ENCODE = (
    # --- denoising ---
    Mutation(
        "the latent is taken one step too late",
        "pipeline/encoding.py",
        "max(0, math.ceil(moment * n_run) - 1)",
        "max(0, math.ceil(moment * n_run))",
        ("pipeline/test_encoding.py::test_moments_are_the_steps_that_end_there",),
    ),
    Mutation(
        "layers are modelled at the moments of the latent",
        "pipeline/encoding.py",
        "layer_moments = steps_at(config.layer_moments, n_steps_run(run))",
        "layer_moments = steps_at(config.moments, n_steps_run(run))",
        (_MOMENTS,),
    ),
    Mutation(
        "layers are recorded at the moments of the latent",
        "pipeline/encoding.py",
        "module_steps=layer_moments",
        "module_steps=moments",
        (_MOMENTS,),
    ),
    Mutation(
        "denoised latents of every strength are those of one",
        "pipeline/encoding.py",
        "strengths=tuple(Latent(DENOISED, each) for each in config.strengths)",
        "strengths=tuple(Latent(DENOISED, strength) for each in config.strengths)",
        (_MOMENTS,),
    ),
    Mutation(
        "the latent is recorded before its step",
        "targets/_trace.py",
        "if step in plan.latent_steps:\n                add(DENOISED, step, latents)",
        "if step + 1 in plan.latent_steps:\n                add(DENOISED, step + 1, latents)",
        ("targets/test_trace.py::test_latents_are_the_models_own",),
    ),
    # --- responses ---
    Mutation(
        "every block of voxels holds the responses of the first",
        "pipeline/encode/_4_average.py",
        "voxels[train.rows(shard)] = True",
        "voxels[: n_rows(train, shard)] = True",
        (f"{_WIRING}::test_means_of_all_voxels_are_stored_whatever_the_blocks",),
    ),
    Mutation(
        "slices of voxels begin at the start of their block",
        "pipeline/encoding.py",
        "[first - rows.start : last - rows.start]",
        "[: last - first]",
        ("pipeline/test_encoding.py::test_stored_responses_are_sliced_by_voxels",),
    ),
    # --- models ---
    Mutation(
        "training and test stimuli change places",
        "pipeline/encoding.py",
        "return scores[: self._n_train], scores[self._n_train :]",
        "return scores[-self._n_train :], scores[: -self._n_train]",
        ("pipeline/test_encoding.py::test_scores_are_those_of_scikit_learns_ridge",),
    ),
    Mutation(
        "repeats do not weigh the training stimuli",
        _FIT,
        "sample_weight=repeats, relative=True",
        "relative=True",
        (_RESULTS,),
    ),
    Mutation(
        "q is not computed over the voxels",
        _FIT,
        '"q": fdr(p)',
        '"q": p',
        (_RESULTS,),
    ),
    Mutation(
        "r2 takes predictions for absolute that are relative to the mean",
        _FIT,
        "encoding_scores(y_test, predictions, model.mean_)",
        "encoding_scores(y_test, predictions)",
        (_RESULTS,),
    ),
    Mutation(
        "p counts the training stimuli",
        _FIT,
        "gaussian_p(scores.r, len(y_test))",
        "gaussian_p(scores.r, len(X_train))",
        (_RESULTS,),
    ),
    Mutation(
        "a permutation exchanges single stimuli instead of blocks",
        _FIT,
        "y_test, predictions, blocks, n_permutations",
        "y_test, predictions, np.arange(len(y_test)), n_permutations",
        ("pipeline/test_wiring.py::test_a_permutation_keeps_blocks_together",),
    ),
    Mutation(
        "the permutation null has no blocks of similar stimuli",
        _FIT,
        'if run.config.encode.null == "gaussian":\n        return',
        "if run.config.encode.null:\n        return",
        (f"{_WIRING}::test_permutations_keep_similar_test_stimuli_together",),
    ),
    Mutation(
        "blocks of a permutation hold stimuli that are not similar",
        _FIT,
        "np.asarray(means.fit_predict(rows), np.intp)",
        "np.arange(len(rows)) % means.n_clusters",
        ("pipeline/test_wiring.py::test_similar_stimuli_share_a_block",),
    ),
    # --- tables ---
    Mutation(
        "the ceiling is that of a single trial",
        "pipeline/encode/_7_maps.py",
        "ncsnr_ceiling(ncsnr, subject.test.repeats[:n_test])",
        "ncsnr_ceiling(ncsnr, np.ones(n_test))",
        (f"{_WIRING}::test_a_ceiling_is_that_of_the_means_over_repeats",),
    ),
    Mutation(
        "the ceiling is ignored where r is given as a share of it",
        "pipeline/encode/_7_maps.py",
        'normalised(means[bound], means["ceiling"])',
        "means[bound]",
        (f"{_WIRING}::test_means_of_regions_are_shares_of_their_ceiling",),
    ),
    Mutation(
        "a region has the ceiling of another",
        "pipeline/encode/_7_maps.py",
        'ceiling=[ceilings[roi] for roi in means["roi"]]',
        "ceiling=[list(ceilings.values())[i % len(ceilings)] for i in range(len(means))]",
        (f"{_WIRING}::test_means_of_regions_are_shares_of_their_ceiling",),
    ),
    Mutation(
        "a comparison of two latents has the other sign",
        "pipeline/encode/_7_maps.py",
        "compare(y_test, predictions[a], predictions[b], rois, **draws)",
        "compare(y_test, predictions[b], predictions[a], rois, **draws)",
        ("pipeline/test_encoding.py::test_tables_of_regions_agree_with_the_table_of_voxels",),
    ),
)
