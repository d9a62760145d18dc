"""Mutations of formulas: data, targets, generation, linear models, evaluation, encoding."""

from mutations._mutation import Mutation

_RIDGE = "linear/test_ridge.py"
_BY_HAND = "generation/test_reconstruct.py::test_conditions_against_the_steps_by_hand"

ROOMS = (
    # --- data ---
    Mutation(
        "responses are averaged over the repeats of the most repeated stimulus",
        "data/subject.py",
        "total /= split.repeats[:, None].astype(np.float32)",
        "total /= np.float32(split.repeats.max())",
        ("data/test_subject.py::test_rows_stay_in_trial_order_where_sessions_alternate",),
    ),
    Mutation(
        "the mask of voxels is off by one",
        "data/subject.py",
        "voxels = np.flatnonzero(self.subject.voxel_mask(roi))",
        "voxels = np.flatnonzero(self.subject.voxel_mask(roi)) - 1",
        ("data/test_subject.py::test_rows_stay_in_trial_order_where_sessions_alternate",),
    ),
    Mutation(
        "a union of regions is their intersection",
        "data/subject.py",
        "mask |= self.voxels[name].to_numpy(bool)",
        "mask = self.voxels[name].to_numpy(bool) & (mask | ~mask.any())",
        ("data/test_nsd.py::test_unions_of_regions",),
    ),
    Mutation(
        "training trials are among the test trials",
        "data/subject.py",
        'return self.select(self.trials["split"].to_numpy() == "test")',
        'return self.select(self.trials["split"].to_numpy() != "")',
        ("data/test_subject.py::test_rows_stay_in_trial_order_where_sessions_alternate",),
    ),
    Mutation(
        "the noise ceiling grows with the noise",
        "data/reliability.py",
        "noise_over_signal = 1 / (np.asarray(n_repeats) * np.square(np.asarray(ncsnr, float)))",
        "noise_over_signal = np.asarray(n_repeats) * np.square(np.asarray(ncsnr, float))",
        ("data/test_reliability.py::test_noise_ceiling_is_the_share_of_signal_variance",),
    ),
    # --- targets and generation ---
    Mutation(
        "z enters the generator where text does",
        "targets/z.py",
        'port: ClassVar[str] = "start"',
        'port: ClassVar[str] = "text"',
        (_BY_HAND,),
    ),
    Mutation(
        "the start does not go through its image",
        "targets/z.py",
        "if not start.through_image:",
        "if True:",
        (
            "generation/test_reconstruct.py::"
            "test_the_start_goes_through_the_autoencoder_even_at_the_same_size",
        ),
    ),
    Mutation(
        "denoising starts at another strength",
        "generation/_reconstruct.py",
        "                strength=settings.strength,\n",
        "                strength=1.0,\n",
        (_BY_HAND,),
    ),
    Mutation(
        "samples of a batch are drawn from other stimuli",
        "generation/_reconstruct.py",
        "np.arange(rows.start, rows.stop) // settings.samples",
        "np.arange(rows.start, rows.stop) % len(seeds)",
        (_BY_HAND,),
    ),
    Mutation(
        "every sample of a stimulus has one seed",
        "generation/_reconstruct.py",
        'seed_for(run_seed, "picture", stimulus_id, sample)',
        'seed_for(run_seed, "picture", stimulus_id)',
        ("generation/test_reconstruct.py::test_seeds_belong_to_stimulus_and_sample",),
    ),
    Mutation(
        "takagi2023: the start has the noise of the first step",
        "diffusion/schedule.py",
        'first if schedule == "diffusers" else max(first - 1, 0)',
        "first",
        ("diffusion/test_schedule.py::test_takagi2023_is_the_compvis_rule",),
    ),
    # --- linear models ---
    Mutation(
        "the penalty is doubled",
        "linear/decomposition.py",
        "(self.eigenvalues[:, None] + distinct)",
        "(self.eigenvalues[:, None] + 2 * distinct)",
        (f"{_RIDGE}::test_one_penalty_per_target_equals_sklearn",),
    ),
    Mutation(
        "targets are not centred",
        "linear/decomposition.py",
        "mean = given.mean(axis=0, dtype=np.float64)",
        "mean = 0 * given.mean(axis=0, dtype=np.float64)",
        (f"{_RIDGE}::test_any_shape_equals_sklearn_ridge_on_repeated_targets",),
    ),
    Mutation(
        "responses are not centred when a decoder predicts",
        "linear/estimator.py",
        "centred = np.subtract(given, self.offset_, out=np.empty_like(given))",
        "centred = given",
        ("decoding/test_ridge_decoder.py::test_fixed_penalty_equals_sklearn_pipeline",),
    ),
    Mutation(
        "GCV counts trials where it should count stimuli",
        "linear/gcv.py",
        "left_between = np.maximum(left_between / m, tiny)",
        "left_between = np.maximum(left_between / n, tiny)",
        (f"{_RIDGE}::test_gcv_with_repeats_splits_the_hat_matrix_by_stimulus",),
    ),
    Mutation(
        "GCV leaves out single trials of a stimulus",
        "linear/gcv.py",
        "if not decomposition.repeats:",
        "if True:",
        (f"{_RIDGE}::test_gcv_with_repeats_splits_the_hat_matrix_by_stimulus",),
    ),
    Mutation(
        "repeats of a stimulus are on both sides of a fold",
        "linear/estimator.py",
        "return grouped_folds(trials.rows, self.n_folds)",
        "return grouped_folds(np.arange(len(trials.X)), self.n_folds)",
        (
            "decoding/test_ridge_decoder.py::"
            "test_honest_rules_shrink_more_than_folds_through_repeats",
        ),
    ),
    Mutation(
        "a held-out session leaves its stimuli in training",
        "linear/cross_validation.py",
        "is_train &= ~np.isin(stimulus, stimulus[is_test])",
        "is_train &= True",
        ("linear/test_cross_validation.py::test_a_repeat_never_stands_on_both_sides",),
    ),
    Mutation(
        "the correlation of columns is not centred",
        "linear/scores.py",
        "        true = true - true.mean(axis=0)\n",
        "",
        ("linear/test_scores.py::test_pearson_r_equals_scipy",),
    ),
    # --- evaluation ---
    Mutation(
        "a tie of identification counts as won",
        "evaluation/metrics/identification.py",
        "ahead, not_behind = margin > TIE, margin >= -TIE",
        "ahead, not_behind = margin >= -TIE, margin >= -TIE",
        ("evaluation/test_identification.py::test_one_image_for_all_ties_with_itself",),
    ),
    Mutation(
        "the directions of identification change places",
        "evaluation/metrics/identification.py",
        'return {"original": by_original, "reconstruction": by_reconstruction}',
        'return {"original": by_reconstruction, "reconstruction": by_original}',
        ("evaluation/test_identification.py::test_the_two_directions_by_hand",),
    ),
    Mutation(
        "a stimulus competes with itself",
        "evaluation/metrics/identification.py",
        "direction: (won / (n - 1), pseudo_values(won, won_over))",
        "direction: (won / n, pseudo_values(won, won_over))",
        ("evaluation/test_identification.py::test_is_the_double_loop",),
    ),
    Mutation(
        "the chance of retrieval is that of the first place",
        "evaluation/metrics/_retrieval.py",
        "return min(1.0, k / min(n_candidates, n_stimuli))",
        "return min(1.0, 1 / min(n_candidates, n_stimuli))",
        ("evaluation/test_retrieval.py",),
    ),
    Mutation(
        "an interval takes the deviation of the scores for the error of their mean",
        "evaluation/intervals.py",
        "return float(sample.std(ddof=1) / np.sqrt(len(sample)))",
        "return float(sample.std(ddof=1))",
        (
            "evaluation/test_intervals.py::"
            "test_the_mean_of_even_tailed_scores_has_students_interval",
        ),
    ),
    Mutation(
        "a control that beats chance passes",
        "evaluation/audit/brain.py",
        'elif ci[0] <= chance:\n        verdict, meaning = "pass"',
        'elif value <= 1:\n        verdict, meaning = "pass"',
        ("evaluation/audit/test_brain.py::test_a_null_control_belongs_at_chance",),
    ),
    Mutation(
        "the share of the ceiling does not begin at chance",
        "evaluation/audit/brain.py",
        "share = float((decoded.mean() - chance) / (top - chance))",
        "share = float(decoded.mean() / top)",
        ("evaluation/audit/test_brain.py::test_the_score_is_a_share_of_the_way_to_the_ceiling",),
    ),
    Mutation(
        "the nearest training rows are not centred",
        "evaluation/audit/training.py",
        "mean = (np.sum(sums, axis=0) / n).astype(np.float32)",
        "pass",
        (
            "evaluation/audit/test_training.py::"
            "test_centred_features_find_the_stimulus_that_was_decoded",
        ),
    ),
    Mutation(
        "identification within clusters is identification among all images",
        "evaluation/audit/brain.py",
        "both = two_way_scores(originals[members], drawn[members])",
        "both = {k: v[members] for k, v in two_way_scores(originals, drawn).items()}",
        ("evaluation/audit/test_brain.py::test_knowing_the_cluster_alone_is_at_chance_within_it",),
    ),
    # --- encoding ---
    Mutation(
        "orders that tie with the given one do not count in the permutation p",
        "encoding/significance.py",
        "(r[1:] >= r[0]).sum(axis=0)",
        "(r[1:] > r[0]).sum(axis=0)",
        ("encoding/test_significance.py::test_orders_that_tie_with_the_given_one_count",),
    ),
    Mutation(
        "the permutation p may be zero",
        "encoding/significance.py",
        "(1 + (r[1:] >= r[0]).sum(axis=0)) / (1 + n_permutations)",
        "(r[1:] >= r[0]).sum(axis=0) / n_permutations",
        ("encoding/test_significance.py::test_permutation_p_equals_a_naive_loop",),
    ),
    Mutation(
        "the gaussian p has a degree of freedom too many",
        "encoding/significance.py",
        "return np.asarray(scipy.stats.t.sf(t, n - 2))",
        "return np.asarray(scipy.stats.t.sf(t, n - 1))",
        ("encoding/test_significance.py::test_gaussian_p_equals_scipy",),
    ),
    Mutation(
        "unique variance is what is shared with the others",
        "encoding/unique.py",
        "unique = {name: joint.r2 - best[others[name]].r2 for name in scaled}",
        "unique = {name: joint.r2 - best[alone[name]].r2 for name in scaled}",
        ("encoding/test_unique.py::test_known_shares_are_recovered",),
    ),
    # --- images as conditions ---
    Mutation(
        "guidance leads away from the image itself",
        "diffusion/networks.py",
        "torch.cat([torch.zeros_like(image), image])",
        "torch.cat([image, image])",
        ("diffusion/test_image_port.py::test_from_a_start_it_is_diffusers_image_to_image",),
    ),
    Mutation(
        "an absent image keeps the weight of the adapter",
        "diffusion/ip_adapter.py",
        "layer.scale = [0.0 if prepared is None else self._scale]",
        "layer.scale = [self._scale]",
        ("diffusion/test_image_port.py::test_without_an_image_the_model_is_as_without_an_adapter",),
    ),
    Mutation(
        "an embedding enters an unCLIP model without noise",
        "diffusion/unclip.py",
        "self._scheduler.add_noise(scaled, noise, levels)",
        "scaled",
        ("diffusion/test_unclip.py::test_from_noise_it_is_diffusers_pipeline",),
    ),
    Mutation(
        "a decoded embedding keeps its length",
        "targets/image.py",
        "return (values * scale).astype(np.float32)",
        "return values.astype(np.float32)",
        ("targets/test_image.py::test_decoded_embeddings_get_the_mean_norm_of_the_training_ones",),
    ),
    # --- what is shown ---
    Mutation(
        "a contact sheet ranks the worst first",
        "report/_contact_sheet.py",
        "ranking = np.lexsort((np.arange(n), -second, -first))",
        "ranking = np.lexsort((np.arange(n), second, first))",
        ("report/test_contact_sheet.py::test_ranks_best_median_worst",),
    ),
    # --- reliability of voxels ---
    Mutation(
        "the variance of all trials counts as signal",
        "linear/reliability.py",
        "signal = equations.variance - noise * equations.n_trials / equations.weight",
        "signal = equations.variance",
        ("decoding/test_reliability.py::test_reliability_is_ncsnr_of_the_training_repeats",),
    ),
    Mutation(
        "unreliable voxels weigh more",
        "linear/reliability.py",
        "weights[chosen] = reliability[chosen] ** power",
        "weights[chosen] = reliability[chosen] ** -power",
        ("decoding/test_reliability.py::test_one_power_equals_ridge_on_voxels_multiplied_by_hand",),
    ),
    Mutation(
        "errors of targets are summed as they are, whatever their variance",
        "linear/estimator.py",
        "error += float((errors[variance > 0] / variance[variance > 0]).sum())",
        "error += float(errors.sum())",
        ("decoding/test_reliability.py::test_a_target_of_large_variance_does_not_decide_alone",),
    ),
    Mutation(
        "sessions are standardised by their test trials, too",
        "data/sessions.py",
        "train = betas[self.is_train[session]]",
        "train = betas",
        ("data/test_subject.py::test_sessions_are_standardized_by_their_own_training_trials",),
    ),
    Mutation(
        "test responses reach the decoder without the standardisation of their session",
        "pipeline/reconstruct/_3_decode.py",
        "lambda: subject.test.mean_betas(rois)",
        "lambda: run.subject.test.mean_betas(rois)",
        ("pipeline/test_experiment.py::test_a_run_standardizes_sessions",),
    ),
)
